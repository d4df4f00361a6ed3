"""Limits of callers over each kind of Redis: the same for all gateways, given back once, no outage of their own."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest

from cluster.admission import caller_limits
from cluster.admission.caller_limits import CallerLimits
from cluster.admission.lease import Lease, Limits
from cluster.errors import QuotaExceeded
from tests.redis_kinds.kind import RedisKind

pytestmark = pytest.mark.redis
MakeLimits = Callable[..., CallerLimits]
TWO_STREAMS, MINUTE = Limits(streams=2), Limits(tokens_per_minute=6000)


@pytest.fixture
async def make_limits(any_redis: RedisKind) -> AsyncIterator[MakeLimits]:
    """`make_limits()`: those of one more gateway."""
    made: list[CallerLimits] = []

    def make(lease_s: float = 30) -> CallerLimits:
        made.append(CallerLimits(any_redis.url, lease_s))
        return made[-1]

    yield make
    for limits in made:
        await limits.close()


def _streams(any_redis: RedisKind, caller: str = "a") -> int:
    with any_redis.client() as client:
        return int(client.zcard(f"gemma-cluster:caller:{{{caller}}}:streams"))


def _tokens(any_redis: RedisKind, caller: str = "a") -> float:
    """As of the last time that a gateway told of some; Redis forgets a budget that is full."""
    with any_redis.client() as client:
        stored = client.hget(f"gemma-cluster:caller:{{{caller}}}:budget", "tokens")
        return float(stored or MINUTE.tokens_per_minute)


def _let_pass(any_redis: RedisKind, seconds: float, caller: str = "a") -> None:
    """As if the caller had come so much earlier."""
    with any_redis.client() as client:
        client.hincrby(f"gemma-cluster:caller:{{{caller}}}:budget", "at", -round(seconds * 1000))


async def _ended(limits: CallerLimits, *leases: Lease) -> None:
    for lease in leases:
        lease.end()
    await asyncio.gather(*limits._tasks)


async def _until(is_so: Callable[[], bool]) -> None:
    """Renewals run beside the test."""
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.02)


@contextmanager
def _stopped(any_redis: RedisKind) -> Iterator[None]:
    for pid in any_redis.pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in any_redis.pids:
            os.kill(pid, signal.SIGCONT)


async def test_streams_count_over_all_gateways_and_for_each_caller_alone(make_limits: MakeLimits) -> None:
    here, there = make_limits(), make_limits()
    first = await here.take("a", TWO_STREAMS, 1)
    await there.take("a", TWO_STREAMS, 1)
    for limits in (here, there):
        with pytest.raises(QuotaExceeded, match="caller a has reached its limit of 2 streams at once; end one"):
            await limits.take("a", TWO_STREAMS, 1)
    assert await there.take("b", TWO_STREAMS, 1)
    await _ended(here, first)
    assert await there.take("a", TWO_STREAMS, 1)


async def test_a_refused_stream_is_told_when_one_may_have_ended(make_limits: MakeLimits) -> None:
    limits = make_limits()
    for _ in range(2):
        await limits.take("a", TWO_STREAMS, 1)
    with pytest.raises(QuotaExceeded) as caught:
        await limits.take("a", TWO_STREAMS, 1, stream_s=8.0)
    assert caught.value.retry_after_s == 4.0


async def test_tokens_are_charged_over_all_gateways_and_come_back_with_time(
    make_limits: MakeLimits, any_redis: RedisKind
) -> None:
    here, there = make_limits(), make_limits()
    await here.take("a", MINUTE, 4000)
    with pytest.raises(QuotaExceeded, match="6000 tokens a minute, prompts and answers together") as caught:
        await there.take("a", MINUTE, 5000)
    assert 20 < caught.value.retry_after_s <= 30.0  # 3000 are missing, 100 come a second
    _let_pass(any_redis, caught.value.retry_after_s)
    assert await there.take("a", MINUTE, 5000)


async def test_an_answer_is_charged_as_it_comes_and_may_go_below_zero(
    make_limits: MakeLimits, any_redis: RedisKind
) -> None:
    limits = make_limits()
    lease = await limits.take("a", MINUTE, 1000)
    lease.uncharged += 8000
    await _ended(limits, lease)
    assert -3000 <= _tokens(any_redis) <= -2000
    with pytest.raises(QuotaExceeded) as caught:
        await limits.take("a", MINUTE, 1)
    assert 20 < caught.value.retry_after_s <= 31


async def test_a_prompt_above_the_tokens_of_a_minute_starts_when_all_are_there(make_limits: MakeLimits) -> None:
    limits = make_limits()
    assert await limits.take("a", MINUTE, 100_000)
    with pytest.raises(QuotaExceeded) as caught:
        await limits.take("a", MINUTE, 100_000)
    assert caught.value.retry_after_s > 900


async def test_what_never_started_is_given_back(make_limits: MakeLimits, any_redis: RedisKind) -> None:
    limits = make_limits()
    lease = await limits.take("a", Limits(2, 6000), 5000)
    lease.uncharged -= 5000
    await _ended(limits, lease)
    assert (_streams(any_redis), _tokens(any_redis)) == (0, 6000)


async def test_a_lease_ended_twice_is_given_back_once(make_limits: MakeLimits, any_redis: RedisKind) -> None:
    limits = make_limits()
    lease = await limits.take("a", MINUTE, 1000)
    lease.uncharged += 1000
    await _ended(limits, lease, lease)
    assert 4000 <= _tokens(any_redis) < 5000


async def test_a_dead_gateways_streams_are_given_back_and_a_living_ones_are_kept(
    make_limits: MakeLimits, any_redis: RedisKind
) -> None:
    dead, living = make_limits(lease_s=0.4), make_limits(lease_s=2)
    renewing = asyncio.create_task(living.run())
    await dead.take("a", TWO_STREAMS, 1)
    await living.take("a", TWO_STREAMS, 1)
    await asyncio.sleep(3)
    assert await living.take("a", TWO_STREAMS, 1)
    with pytest.raises(QuotaExceeded):
        await living.take("a", TWO_STREAMS, 1)
    renewing.cancel()


async def test_a_long_answer_is_charged_before_it_ends(make_limits: MakeLimits, any_redis: RedisKind) -> None:
    limits = make_limits(lease_s=0.9)
    renewing = asyncio.create_task(limits.run())
    lease = await limits.take("a", MINUTE, 1000)
    lease.uncharged += 3000
    await _until(lambda: _tokens(any_redis) < 3500)
    assert (_tokens(any_redis) >= 2000, lease.uncharged) == (True, 0)
    renewing.cancel()


async def test_a_redis_that_lost_everything_learns_of_running_streams_again(
    make_limits: MakeLimits, any_redis: RedisKind
) -> None:
    limits = make_limits(lease_s=0.3)
    renewing = asyncio.create_task(limits.run())
    await limits.take("a", TWO_STREAMS, 1)
    with any_redis.client() as client:
        client.flushall()
    await _until(lambda: _streams(any_redis) == 1)
    renewing.cancel()


async def test_nothing_of_a_caller_that_went_away_stays_in_redis(make_limits: MakeLimits, any_redis: RedisKind) -> None:
    limits = make_limits()
    lease = await limits.take("a", Limits(2, 600_000_000), 10_000)
    await _ended(limits, lease)
    with any_redis.client() as client:
        left = [client.pttl(key) for key in client.scan_iter()]
    assert all(ms <= 2000 for ms in left)


async def test_while_redis_is_away_requests_go_through_at_once(
    make_limits: MakeLimits, any_redis: RedisKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_limits, "_TIMEOUT_S", 0.5)
    monkeypatch.setattr(caller_limits, "_PAUSE_S", 2.0)
    limits = make_limits(lease_s=2)
    with _stopped(any_redis):
        started = time.monotonic()
        leases = [await limits.take("a", TWO_STREAMS, 1) for _ in range(50)]
        assert time.monotonic() - started < 2  # only the first has waited for Redis
    renewing = asyncio.create_task(limits.run())
    await _until(lambda: _streams(any_redis) == 50 and time.monotonic() > limits._resume_at)
    with pytest.raises(QuotaExceeded):  # those that run are counted again
        await limits.take("a", TWO_STREAMS, 1)
    await _ended(limits, *leases)
    await _until(lambda: _streams(any_redis) == 0 and not limits._leases)
    renewing.cancel()


async def test_what_ends_while_redis_is_away_is_given_back_when_it_is_there_again(
    make_limits: MakeLimits, any_redis: RedisKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_limits, "_TIMEOUT_S", 0.5)
    limits = make_limits(lease_s=6)
    lease = await limits.take("a", TWO_STREAMS, 1)
    with _stopped(any_redis):
        await _ended(limits, lease)
        assert limits._leases
    renewing = asyncio.create_task(limits.run())
    await _until(lambda: not limits._leases)
    assert _streams(any_redis) == 0
    renewing.cancel()


@pytest.mark.parametrize("seed", range(5))
async def test_a_call_cancelled_at_any_moment_leaves_no_stream(
    make_limits: MakeLimits, any_redis: RedisKind, seed: int
) -> None:
    moments, limits = random.Random(seed), make_limits()

    async def call() -> None:
        lease = await limits.take("a", Limits(streams=20), 1)
        try:
            await asyncio.sleep(moments.uniform(0, 0.01))
        finally:
            lease.end()

    tasks = []
    for _ in range(40):
        tasks.append(asyncio.create_task(call()))
        await asyncio.sleep(moments.uniform(0, 0.002))
        if moments.random() < 0.6:
            moments.choice(tasks).cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    while limits._tasks:
        await asyncio.gather(*limits._tasks)
    assert (_streams(any_redis), limits._leases) == (0, {})


async def test_close_waits_for_what_is_given_back(make_limits: MakeLimits, any_redis: RedisKind) -> None:
    limits = make_limits()
    lease = await limits.take("a", TWO_STREAMS, 1)
    lease.end()
    await limits.close()
    assert _streams(any_redis) == 0
