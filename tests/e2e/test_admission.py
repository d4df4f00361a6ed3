"""Admission on real Ray: under more load than a variant takes, people come before batch, and all are answered."""

from __future__ import annotations

import concurrent.futures
import time

from cluster.client import Client
from cluster.errors import Overloaded
from tests.e2e.conftest import RunningCluster

TEXT = "a b c d " * 10


def _answered(cluster: RunningCluster, caller: str, priority: str) -> float:
    """When the answer was whole; asks again if there was no room."""
    with Client(cluster.address, timeout_s=60, caller=caller) as client:
        while True:
            try:
                client.generate(TEXT, model="echo", max_output_tokens=40, priority=priority)
                return time.monotonic()
            except Overloaded as error:
                time.sleep(min(error.retry_after_s, 0.2))


def test_everybody_is_answered_and_batch_after_people(cluster: RunningCluster) -> None:
    """A flood of batch first; the interactive requests of another caller pass it."""
    with concurrent.futures.ThreadPoolExecutor(34) as pool:
        batch = [pool.submit(_answered, cluster, "nightly", "batch") for _ in range(30)]
        time.sleep(0.2)
        people = [pool.submit(_answered, cluster, f"person{n}", "interactive") for n in range(4)]
        last_person = max(future.result(60) for future in people)
        assert sum(future.result(60) > last_person for future in batch) >= 4
