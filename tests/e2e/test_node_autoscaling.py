"""From tokens to nodes: answers call up a replica, the replica a node of Ray's autoscaler, and silence lets both go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.client import Client
from cluster.sessions.embedded import EmbeddedValkey
from tests.e2e.fake_nodes import FakeNodes, nodes_as_asked_for
from tests.e2e.up_process import eventually, running_up
from tests.ports import free_port

# The head has room for one replica. One answer of the echo is 50 tokens a second, so two want a second replica.
CONFIG = """
family: tiny
gateway: {{port: {port}, host: 0.0.0.0}}
sessions: {{redis_url: "{redis}"}}
variants:
  e2b:
    engine: echo
    echo_delay_ms: 20
    num_cpus: 0.8
    replicas: {{min: 1, max: 2, drain_grace_s: 5}}
    autoscaling: {{prefill_tokens_per_s: 10000, decode_tokens_per_s: 200, down_delay_s: 5, step_interval_s: 1}}
"""
CALLERS = 6
PATIENCE_S = 240.0


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[FakeNodes]:
    with nodes_as_asked_for(tmp_path, most=1) as nodes:
        yield nodes


@pytest.fixture
def address(tmp_path: Path, nodes: FakeNodes) -> Iterator[str]:
    port = free_port()
    with EmbeddedValkey() as valkey:
        config = CONFIG.format(port=port, redis=valkey.url)
        with running_up(tmp_path, config, "--address", nodes.address):
            yield f"127.0.0.1:{port}"


def _replicas(address: str) -> int:
    with Client(address, timeout_s=10) as client:
        return client.models()[0].replicas.running


def test_a_node_comes_for_a_replica_that_the_load_needs_and_goes_with_it(address: str, nodes: FakeNodes) -> None:
    is_over = threading.Event()

    def call() -> int:
        answered = 0
        with Client(address, timeout_s=60) as client:
            while not is_over.is_set():
                answered += client.generate("count " * 60, max_output_tokens=100).usage.output_tokens
        return answered

    assert (_replicas(address), nodes.num_workers) == (1, 0)
    with ThreadPoolExecutor(CALLERS) as threads:
        calls = [threads.submit(call) for _ in range(CALLERS)]
        try:
            eventually(lambda: _replicas(address) == 2, PATIENCE_S)
            assert nodes.num_workers == 1
        finally:
            is_over.set()
        assert all(one.result() > 0 for one in calls)
    eventually(lambda: _replicas(address) == 1, PATIENCE_S)
    eventually(lambda: nodes.num_workers == 0, PATIENCE_S)
