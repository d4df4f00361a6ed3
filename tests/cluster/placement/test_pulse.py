"""A replica that gives no sign of life is given up, as long as it gives none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.exceptions import ActorDiedError, ActorUnavailableError

from cluster.placement.placement import Placement
from cluster.placement.pulse import Pulse
from cluster.placement.tenure import Tenure

SILENCE_S = 0.2


class Replica:
    """Answers unless it is stopped, or has a failure."""

    def __init__(self) -> None:
        self.tenure = Tenure("a")
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.failure: Exception | None = None
        self.questions = 0

    async def ask(self) -> int:
        self.questions += 1
        await self.goes_on.wait()
        if self.failure is not None:
            raise self.failure
        return 0

    def place(self) -> Placement:
        """A request that goes there."""
        placement = Placement(())
        placement.at(self.tenure)
        return placement

    @contextmanager
    def watched(self) -> Iterator[asyncio.Task[None]]:
        """While a pulse asks."""
        task = asyncio.create_task(Pulse(self.tenure, self.ask, SILENCE_S).run())
        yield task
        task.cancel()


async def becomes(holds: Any) -> None:
    """Fails if it does not within a second."""
    async with asyncio.timeout(1):
        while not holds():
            await asyncio.sleep(0.005)


async def test_one_that_lives_keeps_its_requests() -> None:
    replica = Replica()
    placement = replica.place()
    with replica.watched():
        await asyncio.sleep(4 * SILENCE_S)
        assert not placement.is_lost
        assert not replica.tenure.is_silent
        assert replica.questions > 4


async def test_one_that_is_stopped_loses_them_and_may_come_back() -> None:
    replica, lost = Replica(), []
    before = replica.place()
    before.on_lost = lambda: lost.append("before")
    with replica.watched():
        replica.goes_on.clear()
        await becomes(lambda: before.is_lost)
        assert replica.tenure.is_silent
        before.leave()
        asked = replica.questions
        meanwhile = replica.place()
        await becomes(lambda: meanwhile.is_lost)
        assert (lost, replica.questions) == (["before"], asked)
        replica.goes_on.set()
        await becomes(lambda: not replica.tenure.is_silent)
        after = replica.place()
        await asyncio.sleep(2 * SILENCE_S)
        assert not after.is_lost


async def test_a_short_silence_is_none() -> None:
    replica = Replica()
    placement = replica.place()
    with replica.watched():
        for _ in range(4):
            replica.goes_on.clear()
            await asyncio.sleep(0.5 * SILENCE_S)
            replica.goes_on.set()
            await asyncio.sleep(0.6 * SILENCE_S)
        assert not placement.is_lost


async def test_one_whose_death_is_known_is_given_up_at_once() -> None:
    replica = Replica()
    with replica.watched():
        await becomes(lambda: replica.questions)
        placement, replica.failure = replica.place(), ActorDiedError()
        assert not placement.is_lost
        await becomes(lambda: placement.is_lost)


async def test_one_that_cannot_be_reached_is_given_up_after_a_while() -> None:
    replica = Replica()
    with replica.watched():
        placement, replica.failure = replica.place(), ActorUnavailableError("away", None)
        await asyncio.sleep(0.4 * SILENCE_S)
        assert not placement.is_lost
        await becomes(lambda: placement.is_lost)


async def test_one_that_has_left_is_asked_until_its_requests_have_ended() -> None:
    replica = Replica()
    placement = replica.place()
    with replica.watched() as watching:
        replica.tenure.ends_at_s = 0.0
        await asyncio.sleep(2 * SILENCE_S)
        assert not watching.done()
        placement.leave()
        await becomes(watching.done)


def test_a_request_is_where_it_was_asked_last() -> None:
    first, second, placement = Tenure("a"), Tenure("b"), Placement(())
    for tenure in (first, second):
        placement.at(tenure)
    first.give_up()
    assert not placement.is_lost
    second.give_up()
    assert (placement.is_lost, placement.replica) == (True, "b")
