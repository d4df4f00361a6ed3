"""A gateway that leaves: health first, then a notice, then no new calls, and an end for what outlasts the grace."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cluster.client import Client
from cluster.errors import InvalidRequest, Unavailable
from protos.gemmacluster.v1.admin_pb2 import DrainRequest, DrainResponse
from protos.gemmacluster.v1.admin_pb2_grpc import AdminServiceStub
from tests.cluster.conftest import MakeGateway
from tests.cluster.gateway.errors_of import raises_cluster_error
from tests.cluster.gateway.hooked_engine import never
from tests.cluster.gateway.local_gateway import SMALL, LocalGateway

NOTICE_S = 0.4


@pytest.fixture
def own(make_gateway: MakeGateway) -> LocalGateway:
    """A gateway that the test may spoil."""
    return make_gateway(drain_notice_s=NOTICE_S, drain_grace_s=10)


@pytest.fixture
def client(own: LocalGateway) -> Iterator[Client]:
    """A client whose connection is there before anything drains."""
    with Client(own.address, timeout_s=20) as client:
        client.models()
        yield client


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """For calls that wait."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def _health(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        return int(health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5).status)


def _drain(address: str, **seconds: int) -> DrainResponse:
    request = DrainRequest()
    if seconds:
        request.timeout.FromMilliseconds(seconds["timeout_ms"])
    with grpc.insecure_channel(address) as channel:
        return AdminServiceStub(channel).Drain(request, timeout=20)


def _begin(own: LocalGateway, client: Client, pool: ThreadPoolExecutor) -> Future[int]:
    """An answer that runs until the engine's hook lets it: the number of its pieces."""
    future = pool.submit(lambda: len(list(client.stream("one two three", model=SMALL))))
    while not own.engine().load().running:
        time.sleep(0.002)
    return future


def test_new_calls_are_answered_until_the_notice_is_over(own: LocalGateway, client: Client) -> None:
    started = time.monotonic()
    draining = own.loop.spawn(own.drain.run())
    while _health(own.address) == health_pb2.HealthCheckResponse.SERVING:
        assert time.monotonic() - started < NOTICE_S
    assert client.generate("hi", model=SMALL).usage.output_tokens > 0
    assert draining.result(5) == 0
    assert time.monotonic() - started >= NOTICE_S
    with pytest.raises(grpc.RpcError) as caught:
        client.models()
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_health_never_comes_back(own: LocalGateway) -> None:
    draining = own.loop.spawn(own.drain.run())
    while own.server.is_serving:
        time.sleep(0.002)
    own.loop.run(own.server.set_serving(True))
    assert not own.server.is_serving
    assert _health(own.address) == health_pb2.HealthCheckResponse.NOT_SERVING
    draining.result(5)


def test_a_running_answer_ends_within_the_grace(own: LocalGateway, client: Client, pool: ThreadPoolExecutor) -> None:
    release = threading.Event()

    async def hook(at: int, output: object) -> None:
        await asyncio.to_thread(release.wait, 10)

    own.engine().hook = hook
    answer = _begin(own, client, pool)
    draining = pool.submit(_drain, own.address)
    time.sleep(2 * NOTICE_S)
    assert not draining.done()
    release.set()
    assert answer.result(5) > 0
    assert draining.result(5).running_requests == 0
    assert own.becomes_idle()


def test_what_outlasts_the_grace_ends_unavailable_with_a_time_to_retry(
    own: LocalGateway, client: Client, pool: ThreadPoolExecutor
) -> None:
    own.engine().hook = never
    answer = _begin(own, client, pool)
    assert _drain(own.address, timeout_ms=100).running_requests == 1
    with pytest.raises(Unavailable, match="shuts down") as caught:
        answer.result(5)
    assert caught.value.retry_after_s > 0
    assert own.becomes_idle()


def test_whoever_leaves_the_drain_does_not_end_it(own: LocalGateway, client: Client) -> None:
    with grpc.insecure_channel(own.address) as channel:
        call = AdminServiceStub(channel).Drain.future(DrainRequest())
        while own.server.is_serving:
            time.sleep(0.002)
        call.cancel()
    time.sleep(2 * NOTICE_S)
    with pytest.raises(grpc.RpcError):
        client.models()


def test_a_shorter_grace_asked_for_later_holds(own: LocalGateway, client: Client, pool: ThreadPoolExecutor) -> None:
    own.engine().hook = never
    answer = _begin(own, client, pool)
    first = own.loop.spawn(own.drain.run(1000))
    time.sleep(1.5 * NOTICE_S)
    assert own.loop.run(own.drain.run(0.05)) == 1
    assert first.result(5) == 1
    with pytest.raises(Unavailable):
        answer.result(5)


def test_a_negative_time_is_refused_and_nothing_drains(own: LocalGateway, client: Client) -> None:
    with raises_cluster_error(InvalidRequest) as caught:
        _drain(own.address, timeout_ms=-1)
    assert caught.error.violations[0].field == "timeout"
    assert own.server.is_serving
    assert client.models()


def test_stop_ends_once_all_is_closed(own: LocalGateway, pool: ThreadPoolExecutor) -> None:
    own.loop.run(own.drain.stop())
    with pytest.raises(grpc.RpcError):
        _health(own.address)


def test_a_client_that_retries_loses_no_call(own: LocalGateway, pool: ThreadPoolExecutor) -> None:
    """Another gateway listens on the same port, as the next one of a node does; the kernel spreads connections."""
    other = LocalGateway(own.config, own.valkey, own.loop).start()
    is_over = threading.Event()

    def call() -> int:
        num_calls = 0
        while not is_over.is_set():
            with Client(own.address, timeout_s=10, retries=4) as client:
                for _ in range(50):
                    client.models()
            num_calls += 50
        return num_calls

    calling = [pool.submit(call) for _ in range(4)]
    time.sleep(0.2)
    own.loop.run(own.drain.stop())
    time.sleep(0.2)
    is_over.set()
    assert min(item.result(10) for item in calling) > 0
    other.stop()
