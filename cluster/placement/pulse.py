"""Whether a replica lives: a process that is stopped, or whose node has vanished, closes no connection.

One small call for each replica and period tells, however many streams it has, and however long each is silent because
the model thinks. It is answered by the replica's event loop, not by the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ray.exceptions import ActorDiedError

from cluster.placement.tenure import Tenure

_PERIODS = 5


class Pulse:
    """Asks one replica again and again, one question at a time, and gives it up while nothing comes."""

    def __init__(self, tenure: Tenure, ask: Callable[[], Awaitable[object]], silence_s: float) -> None:
        """The replica is given up after `silence_s`."""
        self._tenure, self._ask = tenure, ask
        self._period_s = silence_s / _PERIODS
        self._missed = 0

    async def run(self) -> None:
        """Returns when the replica has left, with no requests."""
        while self._tenure.is_watched:
            question = asyncio.ensure_future(self._ask())
            # In periods: a gateway that was itself stopped for long counts it as one.
            while not (await asyncio.wait([question], timeout=self._period_s))[0]:
                self._miss()
            self._take(question.exception())
            await asyncio.sleep(self._period_s)

    def _take(self, failure: BaseException | None) -> None:
        if failure is None:
            self._missed, self._tenure.is_silent = 0, False
        elif isinstance(failure, ActorDiedError):
            # Ray knows. The connection may not: of a node that vanished, it stays open.
            self._tenure.give_up()
        else:
            self._miss()

    def _miss(self) -> None:
        self._missed += 1
        if self._missed >= _PERIODS:
            self._tenure.give_up()
