"""What a caller is told while its request waits: over real gRPC, the replica held back by a hook."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.admission.gate import Gate, slots_per_replica
from cluster.client import Client, Piece
from cluster.engines.base import EngineOutput
from cluster.errors import Unavailable
from protos.gemmacluster.v1.generation_pb2 import QUEUE_REASON_BUSY, QUEUE_REASON_STARTING
from tests.cluster.gateway.hooked_engine import never
from tests.cluster.gateway.local_gateway import SMALL, LocalGateway

WORDS = "one two three four five six"


@pytest.fixture
def cold(gateway: LocalGateway) -> Iterator[threading.Event]:
    """The variant has no replica until the event is set."""
    is_up = threading.Event()

    async def hook(at: int, output: EngineOutput) -> None:
        while not is_up.is_set():
            await asyncio.sleep(0.005)

    gateway.engine().hook = hook
    gateway.loop.run(_set_running(gateway, 0))
    yield is_up
    is_up.set()
    gateway.loop.run(_set_running(gateway, 1))


@pytest.fixture
def start_timeout_s(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(Gate, "start_timeout_s", 0.5)
    return 0.5


async def _set_running(gateway: LocalGateway, replicas: int) -> None:
    gateway.counts.set_running(SMALL, replicas)


def _until_told(pieces: Iterator[Piece]) -> Piece:
    piece = next(pieces)
    assert piece.queue is not None
    return piece


@pytest.mark.parametrize("request_id", ["", "waits-1"])
def test_a_held_request_says_that_a_replica_starts_and_then_answers(
    client: Client, gateway: LocalGateway, cold: threading.Event, request_id: str
) -> None:
    gateway.forget()
    pieces = client.stream(WORDS, model=SMALL, queue_status=True, request_id=request_id)
    told = [_until_told(pieces) for _ in range(2)]
    assert all(piece.response.ByteSize() == 2 + piece.response.queue_status.ByteSize() for piece in told)
    first, second = (piece.queue for piece in told)
    assert first is not None
    assert second is not None
    assert (first.variant, first.reason, first.requests_ahead) == (SMALL, QUEUE_REASON_STARTING, 0)
    assert not first.HasField("wait_ms")
    assert second.waited_ms > first.waited_ms > 0
    cold.set()
    answer = [piece for piece in pieces if piece.queue is None]
    assert answer[0].response.HasField("routing")
    assert answer[0].response.chunk_index == 0
    assert WORDS in "".join(piece.text for piece in answer)


def test_who_waits_behind_others_is_told_how_many(client: Client, gateway: LocalGateway) -> None:

    async def hook(at: int, output: EngineOutput) -> None:
        if at:
            await never(at, output)

    gateway.engine().hook = hook
    slots = slots_per_replica(gateway.config.variants[SMALL])
    calls = [client.stream(WORDS, model=SMALL, queue_status=True) for _ in range(slots + 2)]
    for call in calls[:slots]:
        assert next(call).queue is None
    for ahead, call in enumerate(calls[slots:]):
        queue = _until_told(call).queue
        assert queue is not None
        assert (queue.reason, queue.requests_ahead) == (QUEUE_REASON_BUSY, ahead)
    for call in calls:
        call.close()


def test_who_does_not_ask_is_told_nothing(client: Client, cold: threading.Event) -> None:
    threading.Timer(0.8, cold.set).start()
    assert all(piece.queue is None for piece in client.stream(WORDS, model=SMALL))


def test_a_cancelled_request_that_waits_leaves_nothing(
    client: Client, gateway: LocalGateway, cold: threading.Event
) -> None:
    pieces = client.stream(WORDS, model=SMALL, queue_status=True)
    _until_told(pieces)
    pieces.close()
    assert gateway.becomes_idle()


def test_who_waits_for_a_replica_that_never_comes_is_told_in_time(
    client: Client, gateway: LocalGateway, cold: threading.Event, start_timeout_s: float
) -> None:
    """The first is sent to call a replica up, the second waits in the queue."""
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(client.generate, WORDS, model=SMALL) for _ in range(2)]
        errors = [call.exception(timeout=10) for call in calls]
    assert start_timeout_s < time.monotonic() - began < 5
    for error in errors:
        assert isinstance(error, Unavailable)
        assert str(error) == f"no replica of {SMALL} has started within 0.5 s; nothing was stored"
        assert error.retry_after_s > 0
    assert gateway.becomes_idle()


def test_once_a_replica_is_there_its_first_answer_takes_as_long_as_it_takes(
    client: Client, gateway: LocalGateway, cold: threading.Event, start_timeout_s: float
) -> None:
    threading.Timer(start_timeout_s / 2, lambda: gateway.loop.run(_set_running(gateway, 1))).start()
    threading.Timer(2 * start_timeout_s, cold.set).start()
    assert WORDS in client.generate(WORDS, model=SMALL).content.parts[0].text
