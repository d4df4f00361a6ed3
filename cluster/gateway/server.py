"""Our own grpc.aio server: the services, standard health and reflection, limits and keepalive."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import _async as aio_health
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cluster.config import GatewayConfig
from cluster.gateway.edge import Edge
from cluster.gateway.handlers import service_handler
from cluster.gateway.tls import server_credentials
from protos.gemmacluster.v1 import admin_pb2, generation_pb2, model_pb2, session_pb2

GENERATION = generation_pb2.DESCRIPTOR.services_by_name["GenerationService"]
SESSIONS = session_pb2.DESCRIPTOR.services_by_name["SessionService"]
MODELS = model_pb2.DESCRIPTOR.services_by_name["ModelService"]
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
SERVICES = (GENERATION, SESSIONS, MODELS, ADMIN)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_POLL_S = 0.05
_LAST_WORDS_S = 0.5
# gRPC's own grace ends RPCs without details; ours has passed long before.
_NEVER_S = 1e6
# A burst may be so many times what the edge lets in before a call gets no answer but CANCELLED.
_BURST = 10
_LONGEST_WAIT_S = 24 * 3600


class GrpcServer:
    """Serves a servicer for each service; health is NOT_SERVING until told otherwise."""

    def __init__(self, config: GatewayConfig, edge: Edge) -> None:
        self._config = config
        self._edge = edge
        self._health = aio_health.HealthServicer()
        self._is_serving: bool | None = None
        self._is_leaving = False
        self._deadline = math.inf
        self._finishing: asyncio.Task[int] | None = None
        self._health_server: grpc.aio.Server | None = None
        # Twice the edge's limit: the edge answers what is over its own with details, this bounds even that.
        self._server = grpc.aio.server(
            options=_options(config), maximum_concurrent_rpcs=2 * config.max_concurrent_requests
        )

    async def start(self, servicers: Mapping[ServiceDescriptor, object]) -> None:
        """Binds the port and answers. Raises RuntimeError when the port is taken."""
        handlers = [service_handler(service, servicers.get(service), self._edge) for service in SERVICES]
        self._server.add_generic_rpc_handlers(handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._config.reflection:
            names = [service.full_name for service in SERVICES]
            reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        self._bind()
        await self.set_serving(False)
        await self._server.start()
        await self._serve_health()

    def _bind(self) -> None:
        address = f"{self._config.host}:{self._config.port}"
        if self._config.tls is None:
            self._server.add_insecure_port(address)
        else:
            self._server.add_secure_port(address, server_credentials(self._config.tls))

    async def _serve_health(self) -> None:
        """On a port of its own, if there is one, for whoever has no certificate."""
        if self._config.health_port is None:
            return
        self._health_server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._health_server)
        self._health_server.add_insecure_port(f"{self._config.host}:{self._config.health_port}")
        await self._health_server.start()

    @property
    def is_serving(self) -> bool:
        """What health says."""
        return bool(self._is_serving)

    async def set_serving(self, is_serving: bool) -> None:
        """Sets the health of the server and of each service, unless the server is about to leave."""
        if is_serving == self._is_serving or self._is_leaving:
            return
        self._is_serving = is_serving
        status = SERVING if is_serving else NOT_SERVING
        for name in ("", *(service.full_name for service in SERVICES)):
            await self._health.set(name, status)

    async def withdraw(self) -> None:
        """Says NOT_SERVING from now on; calls are answered as before."""
        self._is_leaving, self._is_serving = True, False
        await self._health.enter_graceful_shutdown()

    async def finish(self, grace_s: float) -> int:
        """Sends GOAWAY, and gives the running RPCs `grace_s` seconds, or less if less is asked later.

        What still runs then ends UNAVAILABLE. Returns how many RPCs that were.
        """
        self._deadline = min(self._deadline, time.monotonic() + grace_s)
        if self._finishing is None:
            self._finishing = asyncio.create_task(self._finish())
        return await asyncio.shield(self._finishing)

    async def _finish(self) -> int:
        await self.withdraw()
        # Calls that gRPC has taken are answered; those that cross the GOAWAY it ends CANCELLED.
        self._stopping = asyncio.create_task(self._server.stop(_NEVER_S))
        while self._edge.in_flight and time.monotonic() < self._deadline:
            await asyncio.sleep(_POLL_S)
        return self._edge.cut_off()

    async def stop(self, grace_s: float) -> None:
        """The same, and then closes the port and all connections."""
        await self.finish(grace_s)
        # What still runs are health watches, which never end by themselves, and last messages on their way.
        await self._server.stop(_LAST_WORDS_S)
        await self._stopping
        if self._health_server is not None:
            await self._health_server.stop(0)


def _options(config: GatewayConfig) -> list[tuple[str, int]]:
    max_bytes, max_burst = config.max_message_mb * 1024 * 1024, _BURST * config.max_concurrent_requests
    return [
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.max_send_message_length", max_bytes),
        # A new gateway binds the port while the old one of the same node still drains.
        ("grpc.so_reuseport", 1),
        # A silent decode must not earn a client's keepalive pings a GOAWAY.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
        # Calls that wait to be taken. gRPC would end some CANCELLED from 1,000 on, and each after 30 s, however many
        # the edge lets in and whatever their deadlines; nobody asks again for what was cancelled.
        ("grpc.server.max_pending_requests", max_burst),
        ("grpc.server.max_pending_requests_hard_limit", max_burst),
        ("grpc.server_max_unrequested_time_in_server", _LONGEST_WAIT_S),
    ]
