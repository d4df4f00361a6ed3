"""Memory after many streams."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from cluster.gateway.housekeeping import Housekeeping


class Garbage:
    """Holds itself, as a task and its exception do; only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _no_other_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


async def _is_collected(*in_flight: int) -> bool:
    """Whether garbage that came meanwhile is, when the requests in flight were these, one after the other."""
    counts = list(in_flight)
    task = asyncio.create_task(Housekeeping(lambda: counts.pop(0) if counts[1:] else counts[0], 0.001).run())
    await asyncio.sleep(0)
    garbage = weakref.ref(Garbage())
    await asyncio.sleep(0.5)
    task.cancel()
    return garbage() is None


async def test_what_many_streams_left_is_cleaned_up_when_most_have_ended() -> None:
    assert await _is_collected(0, 5500, 5000, 2500)


@pytest.mark.parametrize("in_flight", [(0, 5500, 5000), (0, 400, 0), (0, *range(5500, 0, -1))])
async def test_running_streams_are_not_stopped_for_little_nor_while_others_end(in_flight: tuple[int, ...]) -> None:
    assert not await _is_collected(*in_flight)
