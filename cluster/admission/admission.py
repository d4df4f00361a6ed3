"""Lets requests into the variants, each when it is its turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType

from cluster import metrics
from cluster.admission.call import Call
from cluster.admission.caller_limits import CallerLimits
from cluster.admission.callers import Callers
from cluster.admission.gate import Entrant, Gate
from cluster.admission.lease import Lease
from cluster.admission.slot import Slot
from cluster.admission.ticket import Ticket
from cluster.config import ClusterConfig
from cluster.errors import Overloaded
from cluster.request import Priority

# Sheng et al., "Fairness in Serving Large Language Models" (2024): a token of the answer costs two of the prompt.
_OUTPUT_COST = 2.0
_EXPECTED_OUTPUT_TOKENS = 256


class Admission:
    """The gates of all variants, and the callers that come to them."""

    def __init__(self, config: ClusterConfig, redis_url: str) -> None:
        self._callers = Callers(config.admission)
        self._limits = CallerLimits(redis_url, config.admission.lease_s)
        self.gates: Mapping[str, Gate] = {
            name: Gate(name, variant, config.admission.batch_share) for name, variant in config.variants.items()
        }

    def owner(self, call: Call) -> str:
        """Whose the answer is: the caller by name, "" for all without one, who may come back from another host."""
        return self._callers.given_name(call)

    async def admit(
        self,
        variant: str,
        call: Call,
        priority: Priority | None,
        *,
        prompt_tokens: int,
        max_output_tokens: int,
        on_ticket: Callable[[Ticket], None] = lambda ticket: None,
    ) -> Place:
        """Waits until the request may run; `with` the place it does. The answer has at most `max_output_tokens`.
        `on_ticket` gets what `Gate.standing` tells of it by.

        Raises InvalidRequest for a caller's name that is none, QuotaExceeded, and what `Gate.enter` raises.
        """
        name = self._callers.name(call)
        caller = self._callers.config(name)
        priority = priority or caller.priority
        cost = prompt_tokens + _OUTPUT_COST * min(max_output_tokens, _EXPECTED_OUTPUT_TOKENS)
        came_at = time.monotonic()
        gate = self.gates[variant]
        lease = await self._lease(name, gate, prompt_tokens)
        try:
            slot = await gate.enter(Entrant(name, priority, caller.weight, cost, call.deadline), on_ticket)
        except BaseException:
            if lease is not None:
                lease.uncharged -= prompt_tokens
                lease.end()
            raise
        place = Place(gate, slot, lease, prompt_tokens)
        metrics.ADMISSION_TIME.record(place.turn_at - came_at, variant, priority)
        return place

    async def run(self) -> None:
        """What must go on as long as the gateway lives."""
        await self._limits.run()

    async def close(self) -> None:
        """After the last request."""
        await self._limits.close()

    async def _lease(self, name: str, gate: Gate, prompt_tokens: int) -> Lease | None:
        limits = self._callers.limits(name)
        return await self._limits.take(name, limits, prompt_tokens, gate.request_s) if limits else None


class Place:
    """A request that runs: its slot and its lease, given back when the block ends, however it does."""

    def __init__(self, gate: Gate, slot: Slot, lease: Lease | None, prompt_tokens: int) -> None:
        self._gate = gate
        self._slot = slot
        self._lease = lease
        self._prompt_tokens = prompt_tokens
        self._output_tokens = 0
        self.turn_at = time.monotonic()

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slot.leave(self._prompt_tokens + _OUTPUT_COST * self._output_tokens, time.monotonic())
        if self._lease is not None:
            self._lease.end()
        if type(error) is Overloaded and not self._output_tokens:
            # Its replicas are full though it was its turn: other gateways send to them too.
            retry_after_s = max(error.retry_after_s, self._gate.retry_after_s())
            raise Overloaded(str(error), retry_after_s=retry_after_s) from error

    def count(self, output_tokens: int) -> None:
        """More tokens of the answer have come."""
        if not self._output_tokens:
            self._slot.began(time.monotonic())
        self._output_tokens += output_tokens
        if self._lease is not None:
            self._lease.uncharged += output_tokens
