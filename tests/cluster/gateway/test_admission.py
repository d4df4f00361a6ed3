"""Admission over real gRPC: who starts first, what a full queue answers, and nothing left of whoever has gone."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from grpc_status import rpc_status

from cluster.admission.gate import slots_per_replica
from cluster.client import Client, request
from cluster.config import AdmissionConfig, CallerConfig, ClusterConfig, GatewayConfig, VariantConfig
from cluster.engines.base import EngineOutput
from cluster.errors import DeadlineTooShort, InvalidRequest, Overloaded, QuotaExceeded, error_from_status
from cluster.sessions.embedded import EmbeddedValkey
from protos.gemmacluster.v1.generation_pb2 import PRIORITY_BATCH, PRIORITY_INTERACTIVE, GenerateRequest
from protos.gemmacluster.v1.generation_pb2_grpc import GenerationServiceStub
from tests.cluster.gateway.hooked_engine import never
from tests.cluster.gateway.local_gateway import SMALL, LocalGateway
from tests.cluster.gateway.loop_thread import LoopThread
from tests.ports import free_port

WORDS = "one two three four five six"
LONG = "word " * 50


def _waiting(gateway: LocalGateway, waiting: int) -> None:
    """Until so many wait at the gate."""
    deadline = time.monotonic() + 10
    while gateway.admission.gates[SMALL].waiting != waiting:
        assert time.monotonic() < deadline, "they never came to wait"
        time.sleep(0.002)


@contextmanager
def _busy(client: Client, gateway: LocalGateway) -> Iterator[list[object]]:
    """Every slot is taken by a stream that does not go on; the block may close some."""

    async def hook(at: int, output: EngineOutput) -> None:
        if at:
            await never(at, output)

    gateway.engine().hook = hook
    streams = [client.stream(WORDS, model=SMALL) for _ in range(slots_per_replica(gateway.config.variants[SMALL]))]
    for stream in streams:
        next(stream)
    gateway.engine().hook = None
    try:
        yield streams  # type: ignore[misc]
    finally:
        for stream in streams:
            stream.close()


class _Asker:
    """Asks from threads of its own, and tells in which order the engine was asked."""

    def __init__(self, gateway: LocalGateway) -> None:
        self._gateway = gateway
        self._channel = grpc.insecure_channel(gateway.address)
        self._stub = GenerationServiceStub(self._channel)
        self._threads: list[threading.Thread] = []
        self._callers: dict[str, str] = {}

    def ask(self, caller: str, message: GenerateRequest | None = None) -> None:
        """Returns when it waits at the gate."""
        asked = message or request(WORDS, model=SMALL)
        thread = threading.Thread(target=self._ask, args=(caller, asked))
        waiting = self._gateway.admission.gates[SMALL].waiting
        thread.start()
        self._threads.append(thread)
        _waiting(self._gateway, waiting + 1)

    def _ask(self, caller: str, message: GenerateRequest) -> None:
        response = self._stub.Generate(message, metadata=(("x-caller-id", caller),), timeout=20)
        self._callers[response.request_id] = caller

    def join(self) -> list[str]:
        """The callers, all answered, in the order in which the engine got their requests."""
        for thread in self._threads:
            thread.join(20)
        self._channel.close()
        asked = [request.request_id for request in self._gateway.engine().requests]
        return [self._callers[request_id] for request_id in asked if request_id in self._callers]


def _with_priority(priority: int) -> GenerateRequest:
    message = request(WORDS, model=SMALL)
    message.priority = priority  # type: ignore[assignment]
    return message


def test_callers_take_turns_and_batch_comes_last(client: Client, gateway: LocalGateway) -> None:
    asker = _Asker(gateway)
    with _busy(client, gateway) as streams:
        asker.ask("batch", _with_priority(PRIORITY_BATCH))
        for caller in ("a", "a", "a", "b"):
            asker.ask(caller, _with_priority(PRIORITY_INTERACTIVE))
        streams[0].close()  # type: ignore[attr-defined]
        # One slot serves them all, one after the other.
        assert asker.join() == ["a", "b", "a", "a", "batch"]
    assert gateway.becomes_idle()


def test_a_full_queue_is_refused_with_a_retry_time(client: Client, gateway: LocalGateway) -> None:
    client.generate(WORDS, model=SMALL)  # from here on it is known what a request takes
    asker, queue = _Asker(gateway), gateway.config.variants[SMALL].max_queued_requests
    with _busy(client, gateway):
        for _ in range(queue):
            asker.ask("host-like")
        with pytest.raises(Overloaded, match="e2b is busy, and its queue of 8 is full") as caught:
            _generate_as(gateway, "host-like")
        assert caught.value.retry_after_s > 0
        assert not isinstance(caught.value, DeadlineTooShort)
    assert len(asker.join()) == queue
    assert gateway.becomes_idle()
    assert client.generate(WORDS, model=SMALL).content.parts


def _generate_as(gateway: LocalGateway, caller: str, text: str = WORDS) -> None:
    with grpc.insecure_channel(gateway.address) as channel:
        try:
            stub = GenerationServiceStub(channel)
            stub.Generate(request(text, model=SMALL), metadata=(("x-caller-id", caller),), timeout=20)
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            raise (status and error_from_status(status)) or error from error


def test_a_cancelled_and_an_expired_request_leave_the_queue(client: Client, gateway: LocalGateway) -> None:
    gateway.admission.gates[SMALL]._rate.__init__()  # type: ignore[misc]
    with _busy(client, gateway):
        leaving = Client(gateway.address)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            call = pool.submit(leaving.generate, WORDS, model=SMALL)
            _waiting(gateway, 1)
            leaving.close()
            _waiting(gateway, 0)
            assert isinstance(call.exception(), (grpc.RpcError, ValueError))
        with Client(gateway.address, timeout_s=0.2) as hasty, pytest.raises((grpc.RpcError, DeadlineTooShort)):
            hasty.generate(WORDS, model=SMALL)
        _waiting(gateway, 0)
        assert len(gateway.engine().requests) == slots_per_replica(gateway.config.variants[SMALL])
    assert gateway.becomes_idle()


def test_a_deadline_that_cannot_be_met_is_refused_at_once(client: Client, gateway: LocalGateway) -> None:
    gate = gateway.admission.gates[SMALL]
    gate._rate.__init__()  # type: ignore[misc]
    gate._rate.ended(3600.0, is_busy=False)
    with _busy(client, gateway), Client(gateway.address, timeout_s=15) as hasty:
        started = time.monotonic()
        with pytest.raises(DeadlineTooShort, match="give it a longer deadline") as caught:
            hasty.generate(WORDS, model=SMALL)
        assert time.monotonic() - started < 5
        assert caught.value.retry_after_s > 0
    gate._rate.__init__()  # type: ignore[misc]
    assert gateway.becomes_idle()


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_caller_without_a_proper_name_is_refused(gateway: LocalGateway, is_streamed: bool) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _generate_as(gateway, "two words")
    assert [item.field for item in caught.value.violations] == ["metadata.x-caller-id"]


def test_requests_at_the_gate_count_as_waiting_for_routing(client: Client, gateway: LocalGateway) -> None:
    asker = _Asker(gateway)
    with _busy(client, gateway):
        before = gateway.counts.loads()[SMALL].waiting
        asker.ask("a")
        assert gateway.counts.loads()[SMALL].waiting == before + 1
    asker.join()


@pytest.fixture
def limited_gateway(gateway_loop: LoopThread, gateway_valkey: EmbeddedValkey) -> Iterator[LocalGateway]:
    """One that lets each caller have two streams, and one of them a few tokens."""
    echo = VariantConfig(engine="echo", max_context_tokens=4096, max_batch_size=8)
    callers = {"poor": CallerConfig(tokens_per_minute=60)}
    config = ClusterConfig(
        gateway=GatewayConfig(port=free_port()),
        admission=AdmissionConfig(concurrent_streams=2, callers=callers),
        variants={SMALL: echo},
    )
    gateway = LocalGateway(config, gateway_valkey, gateway_loop).start()
    yield gateway
    gateway.stop()


def test_a_caller_above_its_streams_is_refused_and_others_are_not(limited_gateway: LocalGateway) -> None:
    limited_gateway.engine().hook = never
    asked = request(WORDS, model=SMALL)
    with grpc.insecure_channel(limited_gateway.address) as channel:
        stub = GenerationServiceStub(channel)
        mine = (("x-caller-id", "many"),)
        running = [stub.Generate.future(asked, metadata=mine, timeout=20) for _ in range(2)]
        while limited_gateway.engine().load().running < 2:
            time.sleep(0.005)
        with pytest.raises(QuotaExceeded, match="caller many has reached its limit of 2 streams at once"):
            _generate_as(limited_gateway, "many")
        limited_gateway.engine().hook = None
        _generate_as(limited_gateway, "other")
        for call in running:
            call.cancel()
        assert limited_gateway.becomes_idle()
        assert stub.Generate(asked, metadata=mine, timeout=20).content.parts


def test_a_caller_above_its_tokens_is_refused_until_they_are_there(limited_gateway: LocalGateway) -> None:
    _generate_as(limited_gateway, "poor")  # its answer is charged too
    assert limited_gateway.becomes_idle()
    limited_gateway.loop.run(_settled(limited_gateway))
    with pytest.raises(QuotaExceeded) as caught:
        _generate_as(limited_gateway, "poor", LONG)
    assert 0 < caught.value.retry_after_s < 60


async def _settled(gateway: LocalGateway) -> None:
    """Redis has been told of every answer."""
    await asyncio.gather(*gateway.admission._limits._tasks)
