"""A variant that is scaled by tokens, on real Ray Serve: answers make it grow, silence makes it small again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from cluster.client import Client
from protos.gemmacluster.v1.admin_pb2 import GetLoadsRequest
from protos.gemmacluster.v1.admin_pb2_grpc import AdminServiceStub
from tests.e2e.up_process import eventually, running_up
from tests.ports import free_port

# One answer of the echo is 50 tokens a second: by requests, one replica would do for eight of them.
CONFIG = """
family: tiny
gateway: {{port: {port}}}
variants:
  e2b:
    engine: echo
    echo_delay_ms: 20
    replicas: {{min: 1, max: 2, target_ongoing_requests: 16}}
    autoscaling: {{prefill_tokens_per_s: 10000, decode_tokens_per_s: 200, down_delay_s: 5, step_interval_s: 1}}
"""
CALLERS = 6
# Replicas report every ten seconds, and one more takes seconds to start.
PATIENCE_S = 90.0


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with running_up(tmp_path, CONFIG.format(port=free_port())) as process:
        yield process.address


def _replicas(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        return len(AdminServiceStub(channel).GetLoads(GetLoadsRequest(), timeout=10).loads)


def test_replicas_follow_the_tokens(address: str) -> None:
    is_over = threading.Event()

    def call() -> int:
        answered = 0
        with Client(address, timeout_s=60) as client:
            while not is_over.is_set():
                answered += client.generate("count " * 60, max_output_tokens=100).usage.output_tokens
        return answered

    assert _replicas(address) == 1
    with ThreadPoolExecutor(CALLERS) as threads:
        calls = [threads.submit(call) for _ in range(CALLERS)]
        try:
            eventually(lambda: _replicas(address) == 2, PATIENCE_S)
        finally:
            is_over.set()
        assert all(one.result() > 0 for one in calls)
    eventually(lambda: _replicas(address) == 1, PATIENCE_S)
