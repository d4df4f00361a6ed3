"""What `cluster.gateway.deployment.Gateway` wires, wired here without Ray: every other part is the real one."""

from __future__ import annotations

import time
from collections.abc import Mapping

import redis

from cluster.admission import Admission
from cluster.codec import Codec
from cluster.config import ClusterConfig
from cluster.gateway.admin import AdminServicer
from cluster.gateway.deployment import _answers, _read_variants
from cluster.gateway.drain import Drain
from cluster.gateway.edge import Edge
from cluster.gateway.generation import GenerationServicer
from cluster.gateway.models import ModelServicer
from cluster.gateway.server import ADMIN, GENERATION, MODELS, SESSIONS, GrpcServer
from cluster.gateway.sessions import SessionServicer
from cluster.router import RoutedVariant, Router
from cluster.sessions.embedded import EmbeddedValkey
from cluster.sessions.store import SessionStore
from tests.cluster.gateway.hooked_engine import HookedEngine
from tests.cluster.gateway.local_replicas import KnownCounts, LocalReplicas
from tests.cluster.gateway.loop_thread import LoopThread

SMALL, LARGE = "e2b", "31b"


class LocalGateway:
    """A gateway on a free port, over one in-process replica for each variant."""

    def __init__(
        self, config: ClusterConfig, valkey: EmbeddedValkey, loop: LoopThread, redis_url: str | None = None
    ) -> None:
        """`redis_url` leads to the same Valkey another way."""
        self.config = config
        self.redis_url = redis_url or valkey.url
        self.valkey = valkey
        self.loop = loop
        self.address = f"{config.gateway.host}:{config.gateway.port}"
        self.edge = Edge(config.gateway.max_concurrent_requests)

    def start(self) -> LocalGateway:
        """Returns when it answers, and health says SERVING."""
        self.loop.run(self._start())
        return self

    async def _start(self) -> None:
        config = self.config
        self.variants: Mapping[str, RoutedVariant] = _read_variants(config)
        self.replicas = {
            name: await LocalReplicas.make(name, variant, config.checkpoint_of(name))
            for name, variant in config.variants.items()
        }
        self.admission = Admission(config, self.redis_url)
        self.counts = KnownCounts("local", config.variants, self.admission.gates)
        for name in config.variants:
            self.counts.set_running(name, 1)
        self.sessions = SessionStore(self.redis_url, config.sessions)
        self.answers = _answers(config, self.redis_url)
        self.answers.start()
        self.server = GrpcServer(config.gateway, self.edge)
        self.drain = Drain(self.server, config.gateway)
        await self.server.start(self._servicers())
        await self.server.set_serving(True)

    def _servicers(self) -> dict[object, object]:
        router = Router(self.variants, self.config.routing, self.counts)
        names = frozenset(self.variants)
        capabilities = {name: variant.capabilities for name, variant in self.variants.items()}
        return {
            GENERATION: GenerationServicer(
                Codec(names), self.sessions, router, self.admission, self.replicas, self.answers
            ),
            SESSIONS: SessionServicer(self.sessions, names),
            ADMIN: AdminServicer(self.replicas, self.drain, self.edge),
            MODELS: ModelServicer(capabilities, self.config.variants, self.counts),
        }

    def engine(self, variant: str = SMALL) -> HookedEngine:
        """The engine of a variant's only replica."""
        return self.replicas[variant].engine

    def busy(self) -> int:
        """Requests that any part still holds: edge, answers without listeners, gates, streams to replicas, engines."""
        loads = (replicas.engine.load() for replicas in self.replicas.values())
        engines = sum(load.running + load.waiting for load in loads)
        streams = sum(replicas.in_flight for replicas in self.replicas.values())
        gated = sum(gate.in_flight for gate in self.admission.gates.values())
        return self.edge.in_flight + self.answers.num_live + gated + streams + engines

    def becomes_idle(self, timeout_s: float = 5.0) -> bool:
        """True when nothing of a request is left within the timeout."""
        deadline = time.monotonic() + timeout_s
        while self.busy() and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.busy() == 0

    def forget(self) -> None:
        """Empties Valkey, so that a request_id is new again."""
        with redis.Redis.from_url(self.valkey.url) as client:
            client.flushall()

    def stop(self, grace_s: float = 1.0) -> None:
        """Stops the server and closes the connections to Valkey."""
        self.loop.run(self._stop(grace_s))

    async def _stop(self, grace_s: float) -> None:
        await self.server.stop(grace_s)
        await self.answers.close()
        await self.admission.close()
        await self.sessions.close()
