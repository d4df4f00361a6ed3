"""Resident memory of one gateway process that holds 5,000 idle and 500 active streams, and what stays of it after."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.config import VariantConfig
from tests.bench.echo_cluster import echo_cluster, running, wait_until
from tests.bench.figure import Figure
from tests.e2e.up_process import gateway_process

IDLE, ACTIVE, HOLD_S, ROUNDS = 5000, 500, 10.0, 2
# An idle stream waits for its first token; an active one gets two a second.
VARIANTS = {
    "idle": VariantConfig(checkpoint="tiny:e2b", engine="echo", echo_delay_ms=3_600_000, max_batch_size=IDLE),
    "active": VariantConfig(checkpoint="tiny:e2b", engine="echo", echo_delay_ms=500, max_batch_size=ACTIVE),
}
_MIB, _GIB = 1024**2, 1024**3


def run() -> Iterator[Figure]:
    """Several rounds, since what stays after the first may be what the next one uses."""
    with echo_cluster(VARIANTS, max_concurrent_requests=IDLE + ACTIVE + 100) as address:
        gateway = gateway_process(address)
        before, peaks, after = gateway.memory_info().rss, [], []
        for _ in range(ROUNDS):
            peaks.append(_peak(address))
            time.sleep(HOLD_S)
            after.append(gateway.memory_info().rss)
    sizes = [f"{peak / _MIB:,.0f} MiB, then {rest / _MIB:,.0f}" for peak, rest in zip(peaks, after, strict=True)]
    print(f"  before {before / _MIB:,.0f} MiB; " + "; ".join(sizes), flush=True)
    yield Figure("gateway_gib_with_5500_streams", max(peaks) / _GIB, "<=", 1)
    yield Figure("gateway_memory_that_stays", (after[-1] - before) / (max(peaks) - before), "<=", 0.5)
    yield Figure("gateway_memory_after_last_round_vs_first", after[-1] / after[0], "<=", 1.05)


def _peak(address: str) -> int:
    """Bytes, the most that was seen."""
    gateway = gateway_process(address)
    with _streams(address):
        ends_at, peak = time.monotonic() + HOLD_S, 0
        while time.monotonic() < ends_at:
            peak = max(peak, gateway.memory_info().rss)
            time.sleep(0.1)
    wait_until(lambda: sum(running(address)) == 0)
    return peak


@contextmanager
def _streams(address: str) -> Iterator[None]:
    """All open, in a process of their own."""
    command = [sys.executable, "-m", "tests.bench.many_streams", address, str(IDLE), str(ACTIVE)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline(), "the streams did not begin"
        wait_until(lambda: sorted(running(address)) == [ACTIVE, IDLE])
        yield
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()
