"""The edge alone, around RPCs of a bare server: limits, draining, counting, and what leaks of an error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc
import pytest

from cluster.errors import ClusterError, NotFound, Overloaded, Unavailable
from cluster.gateway.edge import Edge
from tests.cluster.gateway.errors_of import raises_cluster_error
from tests.cluster.gateway.loop_thread import LoopThread
from tests.ports import free_port

LIMIT = 2


class Server:
    """One RPC, `/test/Call`, which does what its request says inside the edge."""

    def __init__(self, loop: LoopThread) -> None:
        self.edge = Edge(LIMIT)
        self.release = asyncio.Event()
        self._loop = loop
        self._server: grpc.aio.Server
        port = free_port()
        loop.run(self._start(port))
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.call = self._channel.unary_unary("/test/Call")

    async def _start(self, port: int) -> None:
        self._server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(self._handle)
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test", {"Call": handler})])
        self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()

    async def _handle(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        async with self.edge.guard(context):
            match request:
                case b"wait":
                    await self.release.wait()
                case b"not found":
                    raise NotFound("it is not there", resource_type="Thing", resource_name="it")
                case b"defect":
                    raise RuntimeError("secret")
            return request

    def stop(self) -> None:
        self._channel.close()
        self._loop.run(self._server.stop(0))


@pytest.fixture
def server(gateway_loop: LoopThread) -> Iterator[Server]:
    """The bare server; nothing may be in flight at the end."""
    server = Server(gateway_loop)
    yield server
    server.stop()
    assert server.edge.in_flight == 0


async def _reach(edge: Edge, in_flight: int) -> None:
    async with asyncio.timeout(5):
        while edge.in_flight != in_flight:
            await asyncio.sleep(0.002)


async def _set(event: asyncio.Event) -> None:
    event.set()


def test_what_is_no_error_passes(server: Server) -> None:
    assert server.call(b"hello") == b"hello"


def test_a_cluster_error_leaves_with_its_details(server: Server) -> None:
    with raises_cluster_error(NotFound) as caught:
        server.call(b"not found")
    assert caught.error.resource_name == "it"


def test_a_defect_is_logged_and_says_nothing_outside(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with raises_cluster_error(ClusterError) as caught:
        server.call(b"defect")
    assert caught.error.code == grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.error.to_status())
    assert "secret" in caplog.text


def test_over_the_limit_is_refused_and_under_it_served_again(server: Server, gateway_loop: LoopThread) -> None:
    waiting = [server.call.future(b"wait") for _ in range(LIMIT)]
    gateway_loop.run(_reach(server.edge, LIMIT))
    with raises_cluster_error(Overloaded) as caught:
        server.call(b"one too many")
    assert caught.error.retry_after_s > 0
    gateway_loop.run(_set(server.release))
    assert [call.result() for call in waiting] == [b"wait"] * LIMIT
    assert server.call(b"again") == b"again"


def test_what_is_cut_off_ends_unavailable(server: Server, gateway_loop: LoopThread) -> None:
    waiting = [server.call.future(b"wait") for _ in range(LIMIT)]
    gateway_loop.run(_reach(server.edge, LIMIT))
    assert gateway_loop.run(_cut_off(server.edge)) == LIMIT
    for call in waiting:
        with raises_cluster_error(Unavailable) as caught:
            call.result()
        assert caught.error.retry_after_s > 0
    assert server.call(b"after that") == b"after that"


async def _cut_off(edge: Edge) -> int:
    return edge.cut_off()


def test_a_cancelled_request_is_no_longer_in_flight(server: Server, gateway_loop: LoopThread) -> None:
    call = server.call.future(b"wait")
    gateway_loop.run(_reach(server.edge, 1))
    call.cancel()
    gateway_loop.run(_reach(server.edge, 0))
