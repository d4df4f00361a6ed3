"""How busy each variant is: replicas as the Serve controller sees them, requests as this gateway counts them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from ray import serve
from ray.serve._private.common import ReplicaState

from autoscaling.cold_starts import ColdStarts
from cluster.admission import Gate
from cluster.config import VariantConfig
from cluster.routing import VariantLoad

_WANTED = frozenset({ReplicaState.STARTING, ReplicaState.UPDATING, ReplicaState.RECOVERING, ReplicaState.RUNNING})
logger = logging.getLogger("ray.serve.gemma_cluster.loads")
# The controller's answer costs tens of milliseconds of CPU, so it is asked often only until all is ready,
# while requests are held for a variant without replicas, and while they wait for more that may be coming.
_STARTING_PERIOD_S, _BUSY_PERIOD_S, _READY_PERIOD_S = 0.5, 1.0, 5.0


@dataclass(frozen=True)
class ReplicaCount:
    """Replicas of a variant."""

    running: int = 0
    target: int = 0


class LoadMonitor:
    """Asks the Serve controller every few seconds; between answers the last one holds."""

    def __init__(
        self,
        app_name: str,
        variants: Mapping[str, VariantConfig],
        gates: Mapping[str, Gate],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gates` are told of every change. `clock` gives seconds that never go back."""
        self._app_name = app_name
        self._variants = variants
        self._gates = gates
        self._clock = clock
        self._counts = {name: ReplicaCount() for name in variants}
        self._cold_starts = {name: ColdStarts() for name in variants}
        self._hurry = asyncio.Event()
        for gate in gates.values():
            gate.on_hold = self._hurry.set

    def count(self, variant: str) -> ReplicaCount:
        """Replicas of the variant, at most a few seconds old."""
        return self._counts[variant]

    def loads(self) -> dict[str, VariantLoad]:
        """The load of each variant, for routing. Waiting is what this gateway has beyond the replicas' batches."""
        return {name: self._load(name) for name in self._variants}

    def _load(self, name: str) -> VariantLoad:
        running, ongoing = self._counts[name].running, self._gates[name].in_flight
        batch = running * self._variants[name].max_batch_size
        return VariantLoad(running, ongoing, max(0, ongoing - batch), self._ready_in_s(name))

    def _ready_in_s(self, name: str) -> float | None:
        return self._cold_starts[name].remaining_s(self._clock())

    @property
    def is_ready(self) -> bool:
        """True when every variant that must have a replica has one."""
        return all(map(self._can_answer, self._variants))

    @property
    def can_answer(self) -> bool:
        """True when some variant has, or may do without: the others' replicas may be just what is replaced."""
        return any(map(self._can_answer, self._variants))

    def _can_answer(self, name: str) -> bool:
        return self._counts[name].running >= min(1, self._variants[name].replicas.min)

    async def refresh(self) -> None:
        """Asks the controller now."""
        self._set_counts(await asyncio.to_thread(self._read_counts))

    def _set_counts(self, counts: dict[str, ReplicaCount]) -> None:
        self._counts = counts
        for name, count in counts.items():
            self._cold_starts[name] = self._cold_starts[name].observe(self._clock(), count.target, count.running)
            self._gates[name].resize(count.running, self._ready_in_s(name))

    async def run(self) -> None:
        """Keeps the counts fresh for ever; a controller that is away for a while does no harm."""
        while True:
            try:
                await self.refresh()
            except Exception:
                logger.warning("the Serve controller does not answer; replica counts are old", exc_info=True)
            await self._pause()

    async def _pause(self) -> None:
        """Until it is time to ask again; not longer than it takes Serve to hear of a request that is held."""
        self._hurry.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self._period_s())
            await asyncio.sleep(_STARTING_PERIOD_S)

    def _period_s(self) -> float:
        if not self.is_ready or any(self._is_called_up(name) for name in self._variants):
            return _STARTING_PERIOD_S
        return _BUSY_PERIOD_S if any(gate.waiting for gate in self._gates.values()) else _READY_PERIOD_S

    def _is_called_up(self, name: str) -> bool:
        """Its first replica starts, or soon will."""
        count = self._counts[name]
        return count.running == 0 and (count.target > 0 or self._gates[name].in_flight > 0)

    def _read_counts(self) -> dict[str, ReplicaCount]:
        app = serve.status().applications.get(self._app_name)
        deployments = app.deployments if app else {}
        return {
            name: ReplicaCount(
                running=deployments[name].replica_states.get(ReplicaState.RUNNING, 0),
                target=sum(n for state, n in deployments[name].replica_states.items() if state in _WANTED),
            )
            if name in deployments
            else ReplicaCount()
            for name in self._variants
        }
