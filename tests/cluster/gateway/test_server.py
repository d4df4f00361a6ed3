"""The gRPC server: health, reflection, limits, draining, and the port."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cluster.client import Client, request
from cluster.config import GatewayConfig
from cluster.engines.base import EngineOutput
from cluster.errors import Overloaded
from cluster.gateway.edge import Edge
from cluster.gateway.server import SERVICES, GrpcServer
from protos.gemmacluster.v1.generation_pb2 import StreamGenerateRequest
from tests.cluster.conftest import MakeGateway
from tests.cluster.gateway.hooked_engine import never
from tests.cluster.gateway.local_gateway import SMALL, LocalGateway
from tests.cluster.gateway.loop_thread import LoopThread
from tests.ports import free_port

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = [service.full_name for service in SERVICES]


@pytest.fixture
def own(make_gateway: MakeGateway) -> LocalGateway:
    """A gateway that the test may spoil."""
    return make_gateway()


@pytest.fixture
def channel(own: LocalGateway) -> Iterator[grpc.Channel]:
    """A channel to it."""
    with grpc.insecure_channel(own.address) as channel:
        yield channel


def _check(channel: grpc.Channel, service: str = "") -> int:
    message = health_pb2.HealthCheckRequest(service=service)
    return int(health_pb2_grpc.HealthStub(channel).Check(message, timeout=5).status)


@pytest.mark.parametrize("service", ["", *NAMES])
def test_health_follows_the_gateway(own: LocalGateway, channel: grpc.Channel, service: str) -> None:
    assert _check(channel, service) == SERVING
    own.loop.run(own.server.set_serving(False))
    assert _check(channel, service) == NOT_SERVING
    assert not own.server.is_serving


def test_health_does_not_know_other_services(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        _check(channel, "some.other.Service")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_says_not_serving_until_told_otherwise(gateway_loop: LoopThread, free_config: GatewayConfig) -> None:
    server = _server(gateway_loop, free_config)
    gateway_loop.run(server.start({}))
    with grpc.insecure_channel(f"127.0.0.1:{free_config.port}") as channel:
        assert _check(channel) == NOT_SERVING
    gateway_loop.run(server.stop(0))


def test_a_watcher_is_told_of_every_change_and_of_the_end(own: LocalGateway, channel: grpc.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=10)
    assert next(watch).status == SERVING
    own.loop.run(own.server.set_serving(False))
    assert next(watch).status == NOT_SERVING
    own.loop.run(own.server.set_serving(True))
    assert next(watch).status == SERVING
    stopping = own.loop.spawn(own.server.stop(5))
    assert next(watch).status == NOT_SERVING
    watch.cancel()
    stopping.result(5)


def test_a_watcher_does_not_hold_up_the_stop(own: LocalGateway, channel: grpc.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
    assert next(watch).status == SERVING
    started = time.monotonic()
    own.loop.run(own.server.stop(20))
    assert time.monotonic() - started < 5


def _reflected(channel: grpc.Channel) -> set[str]:
    message = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    answer = next(stub.ServerReflectionInfo(iter([message]), timeout=5))
    return {service.name for service in answer.list_services_response.service}


def test_reflection_lists_every_service(channel: grpc.Channel) -> None:
    assert _reflected(channel) >= {*NAMES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


def test_reflection_knows_the_files(channel: grpc.Channel) -> None:
    message = reflection_pb2.ServerReflectionRequest(file_containing_symbol=NAMES[0])
    answer = next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([message]), timeout=5))
    assert answer.file_descriptor_response.file_descriptor_proto


def test_reflection_can_be_left_out(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(reflection=False)
    with grpc.insecure_channel(gateway.address) as channel, pytest.raises(grpc.RpcError) as caught:
        _reflected(channel)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_too_many_requests_are_refused_with_a_retry_time(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(max_concurrent_requests=2)
    gateway.engine().hook = never
    with Client(gateway.address, timeout_s=10) as client:
        message = StreamGenerateRequest(request=request("hi", model=SMALL))
        running = [threading.Thread(target=lambda: _drain(client, message), daemon=True) for _ in range(2)]
        for thread in running:
            thread.start()
        while gateway.edge.in_flight < 2:
            time.sleep(0.002)
        with pytest.raises(Overloaded) as caught:
            client.models()
        assert caught.value.retry_after_s > 0
    for thread in running:
        thread.join()
    assert gateway.becomes_idle()
    gateway.engine().hook = None
    with Client(gateway.address, timeout_s=10) as client:
        assert client.models()


def _drain(client: Client, message: StreamGenerateRequest) -> None:
    with pytest.raises((grpc.RpcError, ValueError)):
        list(client.raw_stream(message))


def test_a_burst_that_meets_a_busy_gateway_is_answered(make_gateway: MakeGateway) -> None:
    """Left to itself, gRPC ends calls CANCELLED, which nobody asks again for, once a thousand wait to be taken."""
    gateway = make_gateway(max_concurrent_requests=4000)
    with grpc.insecure_channel(gateway.address) as channel:
        _check(channel)
        gateway.loop.spawn(_hold_the_loop(1.0))
        models = channel.unary_unary("/gemmacluster.v1.ModelService/ListModels")
        calls = [models.future(b"", timeout=20) for _ in range(2000)]
        assert {call.code() for call in calls} == {grpc.StatusCode.OK}


async def _hold_the_loop(seconds: float) -> None:
    time.sleep(seconds)


def test_a_message_over_the_limit_is_refused_and_the_channel_goes_on(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(max_message_mb=1)
    with Client(gateway.address, timeout_s=10) as client:
        with pytest.raises(grpc.RpcError) as caught:
            client.generate("x" * (1024 * 1024))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert client.generate("hi", model=SMALL).content.parts


def test_a_stopping_server_lets_running_answers_end_and_takes_no_new_ones(own: LocalGateway) -> None:
    release = threading.Event()

    async def hook(at: int, output: EngineOutput) -> None:
        if at > 0:
            await asyncio.to_thread(release.wait, 10)

    own.engine().hook = hook
    with Client(own.address, timeout_s=20) as client, Client(own.address, timeout_s=1) as other:
        other.models()
        stream = client.stream("one two three four", model=SMALL)
        pieces = [next(stream)]
        stopping = own.loop.spawn(own.server.stop(10))
        while _answers(other):
            time.sleep(0.01)
        release.set()
        pieces += stream
    assert pieces[-1].response.HasField("usage")
    stopping.result(10)
    assert own.busy() == 0


def _answers(client: Client) -> bool:
    """False once gRPC takes no new requests, and drops what crosses its GOAWAY."""
    try:
        client.models()
    except grpc.RpcError:
        return False
    return True


@pytest.fixture
def free_config() -> GatewayConfig:
    """A configuration with a port that nobody listens on."""
    return GatewayConfig(port=free_port())


def _server(loop: LoopThread, config: GatewayConfig) -> GrpcServer:
    async def make() -> GrpcServer:
        return GrpcServer(config, Edge(1))

    return loop.run(make())


def test_a_taken_port_is_an_error(gateway_loop: LoopThread, free_config: GatewayConfig) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_config.port))
        taken.listen()
        server = _server(gateway_loop, free_config)
        with pytest.raises(RuntimeError, match=str(free_config.port)):
            gateway_loop.run(server.start({}))
