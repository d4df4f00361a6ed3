"""What admission adds to a request: without limits the time itself, with limits against a bare round trip to Redis."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from cluster.admission import Admission, Call
from cluster.config import AdmissionConfig, ClusterConfig, VariantConfig
from cluster.sessions.embedded import EmbeddedValkey
from tests.bench.figure import Figure

REQUESTS = 500
CALL = Call((("user-agent", "bench"), ("x-caller-id", "bench")), "ipv4:127.0.0.1:1")
# As many bytes each way as the script that counts a stream.
BARE = "local a = redis.call('TIME') return {'OK'}" + " " * 2000


def run() -> Iterator[Figure]:
    """Medians over requests that find a free slot, one after the other."""
    with EmbeddedValkey() as valkey:
        free, limited, bare = asyncio.run(_measure(valkey.url))
    print(f"  {free:.1f} us without limits, {limited:.0f} us with; a round trip {bare:.0f} us", flush=True)
    yield Figure("admission_us", free, "<=", 50)
    yield Figure("admission_with_limits_vs_round_trip", limited / bare, "<=", 2)


async def _measure(url: str) -> tuple[float, float, float]:
    async with _admission(url) as free, _admission(url, concurrent_streams=100, tokens_per_minute=10**9) as limited:
        redis = Redis.from_url(url)
        try:
            return (
                await _median_us(lambda: _admit(free), pause_s=0),
                await _median_us(lambda: _admit(limited)),
                await _median_us(lambda: redis.eval(BARE, 0)),
            )
        finally:
            await redis.aclose()


@asynccontextmanager
async def _admission(url: str, **limits: int) -> AsyncIterator[Admission]:
    variants = {"e2b": VariantConfig(engine="echo")}
    admission = Admission(ClusterConfig(admission=AdmissionConfig(**limits), variants=variants), url)
    yield admission
    await admission.close()


async def _admit(admission: Admission) -> None:
    with await admission.admit("e2b", CALL, None, prompt_tokens=100, max_output_tokens=100) as place:
        place.count(1)


async def _median_us(request: Callable[[], Awaitable[object]], pause_s: float = 0.002) -> float:
    """The pause is for what is given back after a request's end, which is none of its time."""
    times = []
    for _ in range(REQUESTS):
        started = time.perf_counter()
        await request()
        times.append(time.perf_counter() - started)
        await asyncio.sleep(pause_s)
    return statistics.median(times) * 1e6
