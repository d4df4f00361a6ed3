"""Gateways that are scaled by the calls they carry, on two Ray nodes: streams call another up, and none is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from cluster.client import Client
from cluster.sessions.embedded import EmbeddedValkey
from tests.e2e.some_nodes import some_nodes
from tests.e2e.up_process import eventually, gateway_processes, running_up
from tests.ports import free_port

CONFIG = """
family: tiny
gateway:
  {{port: {port}, host: 0.0.0.0, drain_notice_s: 0.5,
    autoscaling: {{max_replicas: 2, streams: 4, down_delay_s: 3, step_interval_s: 1}}}}
sessions: {{redis_url: "{redis}"}}
variants: {{e2b: {{engine: echo, echo_delay_ms: 20}}}}
"""
CALLERS = 6
WORDS = "count " * 30
# Gateways report every ten seconds, and one more takes seconds to start.
PATIENCE_S = 240.0


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    with EmbeddedValkey() as valkey, some_nodes(2) as nodes:
        config = CONFIG.format(port=port, redis=valkey.url)
        with running_up(tmp_path, config, "--address", nodes.address):
            yield port


def test_gateways_follow_the_calls_they_carry(port: int) -> None:
    is_over = Event()

    def call() -> int:
        answered = 0
        while not is_over.is_set():
            with Client(f"127.0.0.1:{port}", timeout_s=60, retries=4) as client:
                assert WORDS.strip() in "".join(piece.text for piece in client.stream(WORDS, max_output_tokens=500))
            answered += 1
        return answered

    assert len(gateway_processes(port)) == 1
    with ThreadPoolExecutor(CALLERS) as threads:
        calls = [threads.submit(call) for _ in range(CALLERS)]
        try:
            # A caller that ends now has met an error.
            eventually(lambda: any(one.done() for one in calls) or len(gateway_processes(port)) == 2, PATIENCE_S)
        finally:
            is_over.set()
        assert all(one.result() > 0 for one in calls)
    assert len(gateway_processes(port)) == 2
    eventually(lambda: len(gateway_processes(port)) == 1, PATIENCE_S)
