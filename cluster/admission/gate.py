"""The way into one variant: as many requests run as its replicas compute together, the others wait here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import get_args

from cluster import metrics
from cluster.admission.drain_rate import DrainRate, clamped_retry_s
from cluster.admission.fair_queue import FairQueue
from cluster.admission.slot import Slot
from cluster.admission.standing import Standing
from cluster.admission.ticket import Ticket
from cluster.config import VariantConfig
from cluster.errors import DeadlineTooShort, Overloaded
from cluster.request import Priority


@dataclass(frozen=True, slots=True)
class Entrant:
    """A request that wants to run. `cost` is in tokens, `deadline` of the gate's clock."""

    caller: str
    priority: Priority = "interactive"
    weight: float = 1.0
    cost: float = 1.0
    deadline: float | None = None


class Gate:
    """Hands out a variant's slots in this gateway, in the order of its queue.

    Replicas take requests as they come, so none is sent before it can run, but for a few that keep their batches full.
    """

    def __init__(
        self, variant: str, config: VariantConfig, batch_share: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` gives seconds that never go back."""
        self.variant = variant
        self._config = config
        self._clock = clock
        self._queue = FairQueue(batch_share)
        self._rate = DrainRate()
        self._held = 0
        self._replicas = 1
        self._ready_in_s: float | None = None
        self.on_hold: Callable[[], None] = lambda: None
        """Called when a request comes and there is no replica."""

    @property
    def in_flight(self) -> int:
        """Requests that run or wait."""
        return self._held + len(self._queue)

    @property
    def is_cold(self) -> bool:
        """Whether there is no replica that could run a request."""
        return self._replicas == 0

    @property
    def start_timeout_s(self) -> float:
        """How long a request waits for a replica of a cold variant."""
        return self._config.replicas.start_timeout_s

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._queue)

    @property
    def request_s(self) -> float | None:
        """Mean seconds of a request. None before one has ended."""
        return self._rate.request_s

    def resize(self, running_replicas: int, ready_in_s: float | None = None) -> None:
        """The variant has so many replicas now; the next is expected in so many seconds, if that is known.

        Without any, one request at a time goes on to Serve, to call one up: the others keep their order here.
        """
        self._tick()
        self._replicas, self._ready_in_s = running_replicas, ready_in_s
        self._let_in()
        for priority in get_args(Priority):  # also of those that nobody waits in
            self._show(priority)

    def standing(self, ticket: Ticket) -> Standing | None:
        """How its request stands. None when it has its turn, and a replica to run on."""
        waits = not ticket.has_turn
        if not (self.is_cold or waits):
            return None
        ahead = int(self._queue.ahead(ticket)) if waits else 0
        return Standing(self.is_cold, ahead, self._starts_in_s(ahead) if self.is_cold else self._turn_in_s(ahead))

    async def enter(self, entrant: Entrant, on_ticket: Callable[[Ticket], None] = lambda ticket: None) -> Slot:
        """Waits for the entrant's turn; the slot is then the caller's to leave. `on_ticket` gets its ticket at once.

        Raises Overloaded when the queue is full and the entrant's caller has no claim to a place in it, also later, and
        DeadlineTooShort as soon as its turn cannot come in time. Cancelling it frees its place.
        """
        self._tick()
        ticket = Ticket(entrant.caller, entrant.priority, entrant.weight, entrant.cost, asyncio.Future())
        on_ticket(ticket)
        if self.is_cold:
            self.on_hold()
        if self._held >= self._slots or len(self._queue):
            await self._wait(ticket, entrant.deadline)
            return self._slot(ticket, is_charged=True)
        self._held += 1
        ticket.turn.set_result(None)
        return self._slot(ticket, is_charged=False)

    def _slot(self, ticket: Ticket, *, is_charged: bool) -> Slot:
        return Slot(self, ticket if is_charged else None, self._clock(), is_scout=self.is_cold)

    async def _wait(self, ticket: Ticket, deadline: float | None) -> None:
        """Ends with a slot held for the ticket, or raises."""
        patience = self._patience(ticket, deadline)
        self._make_room(ticket)
        self._queue.push(ticket)
        self._show(ticket.priority)
        try:
            async with asyncio.timeout(patience):
                refusal = await ticket.turn
        except BaseException as error:
            self._withdraw(ticket)
            if isinstance(error, TimeoutError):
                raise self._too_late(ticket, deadline) from None
            raise
        if refusal is not None:
            raise refusal

    def _withdraw(self, ticket: Ticket) -> None:
        """Whoever waited has gone; its turn may have come in the same moment."""
        self._tick()
        if self._queue.remove(ticket):
            self._show(ticket.priority)
        elif ticket.has_turn:
            self._held -= 1
            self._let_in()

    def leave(self, ticket: Ticket | None, cost: float, ran_s: float | None) -> None:
        """A slot is free again. `cost` is what its request cost in the end; `ran_s` is None if it never ran."""
        self._tick()
        self._held -= 1
        if ran_s is not None:
            self._rate.ended(ran_s, is_busy=self.waiting > 0)
        if ticket is not None:
            self._queue.charge(ticket, cost - ticket.cost)
        self._let_in()

    def began(self, first_token_s: float) -> None:
        """A request's first tokens came so long after its turn."""
        self._rate.began(first_token_s)

    def came_up(self) -> None:
        """The request that was sent to call a replica up is answered: there is one, whoever else knows of it."""
        if self.is_cold:
            self.resize(1)

    def retry_after_s(self) -> float:
        """When a caller that is refused now should come back; each is told a later time."""
        starts_in_s = 0.0 if self._replicas else self._ready_in_s or 0.0
        return clamped_retry_s(starts_in_s + self._rate.retry_after_s(self._clock(), self._slots))

    @property
    def _slots(self) -> int:
        return self._replicas * slots_per_replica(self._config) or 1

    def _let_in(self) -> None:
        while self._held < self._slots and len(self._queue):
            ticket = self._queue.pop()
            self._show(ticket.priority)
            if not ticket.turn.done():  # else it was cancelled, and its task has yet to hear of it
                self._held += 1
                ticket.turn.set_result(None)

    def _make_room(self, ticket: Ticket) -> None:
        """Raises Overloaded when the ticket itself is who must go."""
        most = max(1, self._replicas) * self._config.max_queued_requests
        if len(self._queue) < most:
            return
        loser = self._queue.loser(ticket, most) if most else ticket
        why = f"{self.variant} is busy, and its queue of {most} is full"
        refusal = Overloaded(why, retry_after_s=self.retry_after_s())
        if loser is ticket:
            raise refusal
        self._queue.remove(loser)
        if not loser.turn.done():
            loser.turn.set_result(refusal)

    def _patience(self, ticket: Ticket, deadline: float | None) -> float | None:
        """Seconds that the ticket may wait. Raises DeadlineTooShort if it would take longer."""
        if deadline is None:
            return None
        patience = deadline - self._clock() - self._rate.first_token_s
        if patience <= 0 or self._wait_s(ticket) > patience:
            raise self._too_late(ticket, deadline)
        return patience

    def _wait_s(self, ticket: Ticket) -> float:
        """Expected seconds until its turn, once there is a replica; 0 if nothing is known."""
        return self._turn_in_s(self._queue.ahead(ticket)) or 0.0

    def _turn_in_s(self, ahead: float) -> float | None:
        rate = self._rate.per_s(max(1, self._replicas) * slots_per_replica(self._config))
        return None if rate is None else (ahead + 1) / rate

    def _starts_in_s(self, ahead: int) -> float | None:
        """The first replica takes as many as it has slots at once."""
        behind = ahead - slots_per_replica(self._config)
        turn_in_s = self._turn_in_s(behind) if behind >= 0 else 0.0
        return None if self._ready_in_s is None or turn_in_s is None else self._ready_in_s + turn_in_s

    def _too_late(self, ticket: Ticket, deadline: float | None) -> DeadlineTooShort:
        wait_s, left_s = self._wait_s(ticket), max(0.0, (deadline or 0.0) - self._clock())
        why = (
            f"{self.variant} is busy: the call's turn would come in about {wait_s:.1f} s, and its deadline passes in "
            f"{left_s:.1f} s; give it a longer deadline, or retry later"
        )
        return DeadlineTooShort(why, retry_after_s=clamped_retry_s(wait_s - left_s))

    def _tick(self) -> None:
        # Who waits for a replica to start says nothing of how fast replicas are.
        self._rate.tick(self._clock(), is_busy=self.waiting > 0 and self._replicas > 0)

    def _show(self, priority: Priority) -> None:
        metrics.QUEUED.record(self._queue.depth(priority), self.variant, priority)


def slots_per_replica(config: VariantConfig) -> int:
    """What a replica computes together, an eighth more so that it never runs dry, and if Serve scales the variant by
    its requests, enough of them for Serve to see that it must."""
    ahead = min(config.max_queued_requests, max(1, config.max_batch_size // 8))
    if config.replicas.min == config.replicas.max:
        return config.max_batch_size + ahead
    seen = min(ceil(2 * config.replicas.target_ongoing_requests), config.max_batch_size + config.max_queued_requests)
    return max(config.max_batch_size + ahead, seen)
