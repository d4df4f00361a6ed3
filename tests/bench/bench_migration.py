"""From SIGKILL of a replica to the next token on each stream that it had: echo engine, a token every 20 ms.

Then the same from SIGSTOP, which closes no connection: the stream moves once the replica has been silent for 2 s.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier

from psutil import Process

from cluster.client import Client
from cluster.config import ReplicasConfig, VariantConfig
from tests.bench.echo_cluster import echo_cluster, running, wait_until
from tests.bench.figure import Figure
from tests.e2e.up_process import a_replica

STREAMS, TOKENS, DELAY_MS, SILENCE_S, ROUNDS = 8, 200, 20, 2.0, 4
E2B = VariantConfig(engine="echo", echo_delay_ms=DELAY_MS, replicas=ReplicasConfig(min=2, max=2, silence_s=SILENCE_S))


def run() -> Iterator[Figure]:
    """Medians of all streams that were hit, in all rounds."""
    with echo_cluster({"e2b": E2B}) as address:
        killed = _pauses(address, Process.kill)
        stopped = _pauses(address, Process.suspend)
    yield Figure("seconds_from_sigkill_to_next_token_p50", statistics.median(killed), "<=", 1)
    yield Figure("seconds_from_sigstop_to_next_token_p50", statistics.median(stopped), "<=", SILENCE_S + 1)


def _pauses(address: str, hurt: Callable[[Process], None]) -> list[float]:
    """Seconds to the next token of each stream that had to move."""
    pauses: list[float] = []
    for _ in range(ROUNDS):
        wait_until(lambda: running(address) == [0, 0])
        pauses += _hurt_under_load(address, hurt)
    assert pauses, "no stream was on a replica that was hurt"
    name, median = hurt.__name__, statistics.median(pauses)
    print(f"  {name}: {len(pauses)} streams, median {median:.3f} s, at most {max(pauses):.3f} s", flush=True)
    return pauses


def _hurt_under_load(address: str, hurt: Callable[[Process], None]) -> list[float]:
    have_begun = Barrier(STREAMS + 1)
    with ThreadPoolExecutor(STREAMS) as pool:
        reading = [pool.submit(_arrivals, address, number, have_begun) for number in range(STREAMS)]
        have_begun.wait(60)
        replica, hurt_at = a_replica("e2b", address), time.monotonic()
        hurt(replica)
        try:
            answers = [item.result() for item in reading]
        finally:
            if replica.is_running():
                replica.resume()
    return [_pause(arrivals, hurt_at) for arrivals, migrations in answers if migrations]


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


def _pause(arrivals: list[float], hurt_at: float) -> float:
    """To the end of the longest gap: what was on its way already still came before it."""
    gaps = [(later - earlier, later) for earlier, later in pairwise(arrivals) if later > hurt_at]
    return max(gaps)[1] - hurt_at
