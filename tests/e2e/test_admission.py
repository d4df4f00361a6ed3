"""Admission on real Ray: under more load than a variant takes, people come before batch, and all are answered."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time

import grpc

from cluster.client import Client, request
from cluster.errors import Overloaded
from protos.gemmacluster.v1.generation_pb2_grpc import GenerationServiceStub
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


async def test_as_many_as_have_room_are_taken_though_they_come_at_once(cluster: RunningCluster) -> None:
    """A batch of four, one ahead and a queue of two: more than may wait are on their way to the replica at once."""
    asked = request(TEXT, model="echo", max_output_tokens=8)
    async with grpc.aio.insecure_channel(cluster.address) as channel:
        stub = GenerationServiceStub(channel)
        answers = await asyncio.gather(*(stub.Generate(asked, timeout=60) for _ in range(7)))
    assert all(answer.usage.output_tokens == 8 for answer in answers)
