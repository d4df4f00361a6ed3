"""Admission as a whole: without limits it needs no Redis, and whatever was taken is given back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cluster.admission import Admission, Call, Place
from cluster.config import ClusterConfig, parse_config
from cluster.errors import Overloaded, Unavailable
from tests.redis_kinds.kind import RedisKind

NOWHERE = "redis://127.0.0.1:1"


def _config(queued: int = 1, **admission: Any) -> ClusterConfig:
    """A variant with two slots."""
    echo = {"engine": "echo", "max_batch_size": 1, "max_queued_requests": queued}
    return parse_config({"admission": admission, "variants": {"e2b": echo}})


async def _admit(admission: Admission, caller: str = "a", **options: Any) -> Place:
    call = Call((("x-caller-id", caller),))
    return await admission.admit("e2b", call, options.pop("priority", None), prompt_tokens=10, max_output_tokens=10)


@pytest.mark.parametrize("error", [None, ValueError("bug"), Unavailable("lost"), asyncio.CancelledError()])
async def test_a_slot_comes_back_however_its_request_ends(error: BaseException | None) -> None:
    admission = Admission(_config(), NOWHERE)
    place = await _admit(admission)
    assert admission.gates["e2b"].in_flight == 1
    try:
        with place:
            place.count(3)
            if error is not None:
                raise error
    except (ValueError, Unavailable, asyncio.CancelledError) as caught:
        assert caught is error  # noqa: PT017
    assert admission.gates["e2b"].in_flight == 0


async def test_full_replicas_refuse_with_the_measured_time() -> None:
    admission = Admission(_config(), NOWHERE)
    gate = admission.gates["e2b"]
    gate.leave(None, 1.0, 60.0)  # as if one had run for a minute
    gate._held += 1
    with pytest.raises(Overloaded, match="full") as caught, await _admit(admission):
        raise Overloaded("full")
    assert caught.value.retry_after_s > 1
    with pytest.raises(Overloaded) as caught, await _admit(admission):
        raise Overloaded("full", retry_after_s=1234)
    assert caught.value.retry_after_s == 1234


async def test_a_configured_caller_is_batch_unless_it_says_otherwise() -> None:
    admission = Admission(_config(queued=8, callers={"nightly": {"priority": "batch"}}), NOWHERE)
    for _ in range(2):
        await _admit(admission)
    tasks = [asyncio.create_task(_admit(admission, "nightly", priority=said)) for said in (None, None, "interactive")]
    await asyncio.sleep(0)
    queue = admission.gates["e2b"]._queue
    assert (queue.depth("batch"), queue.depth("interactive")) == (2, 1)
    for task in tasks:
        task.cancel()


async def test_what_the_queue_refuses_is_no_stream_and_no_tokens(any_redis: RedisKind) -> None:
    admission = Admission(_config(concurrent_streams=9, tokens_per_minute=6000), any_redis.url)
    places = [await _admit(admission) for _ in range(2)]
    waiting = asyncio.create_task(_admit(admission))
    while not admission.gates["e2b"].waiting:
        await asyncio.sleep(0.001)
    with pytest.raises(Overloaded, match="its queue of 1 is full"):
        await _admit(admission)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    for place in places:
        with place:
            place.count(2000)
    await admission.close()
    with any_redis.client() as client:
        assert client.zcard("gemma-cluster:caller:{a}:streams") == 0
        tokens = float(client.hget("gemma-cluster:caller:{a}:budget", "tokens") or 0)  # type: ignore[arg-type]
    assert 6000 - 2 * (10 + 2000) <= tokens < 5000
