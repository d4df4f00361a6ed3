"""From SIGKILL of a replica to the next token on each stream that it had: echo engine, a token every 20 ms."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier

from cluster.client import Client
from cluster.config import ReplicasConfig, VariantConfig
from tests.bench.echo_cluster import echo_cluster, running, wait_until
from tests.bench.figure import Figure
from tests.e2e.up_process import kill_replica

STREAMS, TOKENS, DELAY_MS, ROUNDS = 8, 200, 20, 6
E2B = VariantConfig(engine="echo", echo_delay_ms=DELAY_MS, replicas=ReplicasConfig(min=2, max=2))


def run() -> Iterator[Figure]:
    """A figure of all streams that were hit, in all rounds."""
    with echo_cluster({"e2b": E2B}) as address:
        pauses: list[float] = []
        for _ in range(ROUNDS):
            wait_until(lambda: running(address) == [0, 0])
            pauses += _kill_under_load(address)
    assert pauses, "no stream was on a replica that was killed"
    print(f"  {len(pauses)} streams: median {statistics.median(pauses):.3f} s, at most {max(pauses):.3f} s", flush=True)
    yield Figure("seconds_from_sigkill_to_next_token_p50", statistics.median(pauses), "<=", 1)


def _kill_under_load(address: str) -> list[float]:
    """Seconds to the next token of each stream that had to move."""
    have_begun = Barrier(STREAMS + 1)
    with ThreadPoolExecutor(STREAMS) as pool:
        reading = [pool.submit(_arrivals, address, number, have_begun) for number in range(STREAMS)]
        have_begun.wait(60)
        killed_at = time.monotonic()
        kill_replica("e2b", address)
        return [_pause(item.result()[0], killed_at) for item in reading if item.result()[1]]


def _arrivals(address: str, number: int, have_begun: Barrier) -> tuple[list[float], int]:
    """When each message came, and how often the answer has moved."""
    with Client(address, timeout_s=120) as client:
        # Each begins in its own way: those that begin alike would all go to the same replica.
        stream = client.stream(f"{number} " + "count " * TOKENS, model="e2b", max_output_tokens=TOKENS)
        usage, arrivals = next(stream).response.usage, [time.monotonic()]
        have_begun.wait(60)
        for piece in stream:
            usage = piece.response.usage
            arrivals.append(time.monotonic())
        return arrivals, usage.migrations


def _pause(arrivals: list[float], killed_at: float) -> float:
    """To the end of the longest gap: what was on its way already still came before it."""
    gaps = [(later - earlier, later) for earlier, later in pairwise(arrivals) if later > killed_at]
    return max(gaps)[1] - killed_at
