"""A variant that nobody pays for while nobody asks, on real Ray Serve: who asks is held, told, and answered."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.client import Client, Piece
from protos.gemmacluster.v1.generation_pb2 import QUEUE_REASON_STARTING, QueueStatus
from tests.e2e.up_process import eventually, running_up
from tests.ports import free_port

# A request that may go anywhere prefers the cold one, and comes to the warm one all the same.
CONFIG = """
family: tiny
gateway: {{port: {port}}}
routing:
  size_classes: [{{name: all, prefer: [31b]}}]
variants:
  e2b: {{engine: echo}}
  31b:
    engine: echo
    max_batch_size: 4
    replicas: {{min: 0, max: 1}}
    autoscaling: {{down_delay_s: 2, to_zero_delay_s: 2, step_interval_s: 1}}
"""
WORDS = "one two three"
# Replicas report every ten seconds, and one more takes seconds to start and to stop.
PATIENCE_S = 240.0


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with running_up(tmp_path, CONFIG.format(port=free_port())) as process:
        yield process.address


def _replicas(client: Client) -> int:
    return next(model.replicas.running for model in client.models() if model.name == "31b")


def _told(pieces: list[Piece]) -> list[QueueStatus]:
    return [piece.queue for piece in pieces if piece.queue is not None]


def _ask(address: str, caller: str) -> list[Piece]:
    with Client(address, timeout_s=PATIENCE_S, caller=caller) as client:
        return list(client.stream(WORDS, model="31b", queue_status=True))


def test_who_asks_for_a_variant_without_replicas_is_held_told_and_answered(address: str) -> None:
    with Client(address, timeout_s=PATIENCE_S) as client:
        assert _replicas(client) == 0
        anywhere = client.generate(WORDS).routing
        assert (anywhere.variant, anywhere.reasons[0].code) == ("e2b", "LOAD")
        with ThreadPoolExecutor(3) as callers:
            answers = list(callers.map(lambda name: _ask(address, name), ["a", "a", "b"]))
        for pieces in answers:
            assert WORDS in "".join(piece.text for piece in pieces)
            told = _told(pieces)
            assert {status.reason for status in told} == {QUEUE_REASON_STARTING}
            assert not any(status.HasField("wait_ms") for status in told)  # nothing was measured yet
        eventually(lambda: client.generate(WORDS).routing.variant == "31b")  # warm now
        eventually(lambda: _replicas(client) == 0, PATIENCE_S)
        estimates = [status.wait_ms for status in _told(_ask(address, "a"))]
        assert estimates[0] > 0
