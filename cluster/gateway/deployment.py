"""The gateway as a Ray Serve deployment: one a node, stateless; all that must outlive it is in Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import ray
from ray.serve.handle import DeploymentHandle

from autoscaling.serve_policy import stats
from autoscaling.signals import ReplicaSignals
from cluster.admission import Admission
from cluster.answers.store import AnswerStore
from cluster.capabilities import Capabilities, read_capabilities
from cluster.checkpoints import resolve_checkpoint
from cluster.codec import Codec
from cluster.config import ClusterConfig, parse_config
from cluster.gateway.access_log import open_access_log
from cluster.gateway.admin import AdminServicer
from cluster.gateway.drain import Drain
from cluster.gateway.edge import Edge
from cluster.gateway.generation import GenerationServicer
from cluster.gateway.housekeeping import Housekeeping
from cluster.gateway.kept_answers import KeptAnswers
from cluster.gateway.models import ModelServicer
from cluster.gateway.server import ADMIN, GENERATION, MODELS, SESSIONS, GrpcServer
from cluster.gateway.sessions import SessionServicer
from cluster.loads import LoadMonitor
from cluster.prompt import PromptBuilder
from cluster.replicas import Replicas
from cluster.router import RoutedVariant, Router
from cluster.sessions.store import SessionStore
from cluster.sigterm import drain_on_sigterm
from cluster.tracing import start_tracing, stop_tracing

_HEALTH_PERIOD_S = 0.2


class Gateway:
    """Wires the parts together and keeps the server's health true."""

    async def __init__(  # type: ignore[misc]
        self, config: dict[str, Any], redis_url: str, app_name: str, handles: dict[str, DeploymentHandle[Any]]
    ) -> None:
        """Binds the port at once; health says SERVING once every variant that must have a replica has one."""
        self._config = parse_config(config)
        open_access_log(self._config.logs)
        start_tracing()
        variants = await asyncio.to_thread(_read_variants, self._config)
        replicas = {name: Replicas(name, handle) for name, handle in handles.items()}
        self._admission = Admission(self._config, redis_url)
        self._loads = LoadMonitor(app_name, self._config.variants, self._admission.gates)
        self._sessions = SessionStore(redis_url, self._config.sessions)
        self._answers = _answers(self._config, redis_url)
        capabilities = {name: variant.capabilities for name, variant in variants.items()}
        router = Router(variants, self._config.routing, self._loads)
        codec = Codec(frozenset(variants))
        edge = self._edge = Edge(self._config.gateway.max_concurrent_requests)
        self._server = GrpcServer(self._config.gateway, edge)
        self._drain = Drain(self._server, self._config.gateway)
        drain_on_sigterm(self._leave)
        await self._server.start(
            {
                GENERATION: GenerationServicer(codec, self._sessions, router, self._admission, replicas, self._answers),
                SESSIONS: SessionServicer(self._sessions, frozenset(variants)),
                ADMIN: AdminServicer(replicas, self._drain, edge),
                MODELS: ModelServicer(capabilities, self._config.variants, self._loads),
            }
        )
        self._keeping = self._answers.start()
        housekeeping = Housekeeping(lambda: edge.in_flight)
        running = (self._loads.run(), self._admission.run(), housekeeping.run(), self._watch_health())
        self._tasks = [asyncio.create_task(coroutine) for coroutine in running]

    async def _watch_health(self) -> None:
        was_ready = False
        while True:
            was_ready = was_ready or self._loads.is_ready
            await self._server.set_serving(was_ready and self._loads.can_answer)
            await asyncio.sleep(_HEALTH_PERIOD_S)

    async def is_serving(self) -> bool:
        """What gRPC health says."""
        return self._server.is_serving

    async def address(self) -> str:
        """Where this gateway listens: host:port, with this node's address where it listens on all."""
        gateway = self._config.gateway
        host = gateway.host
        if host in ("0.0.0.0", "::", "[::]"):
            host = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        return f"{host}:{gateway.port}"

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve where gateways are scaled, which passes it to the policy in its controller."""
        return stats(ReplicaSignals(running=self._edge.in_flight))

    async def check_health(self) -> None:
        """Called by Serve; raises when a background task has died."""
        for task in (*self._tasks, self._keeping):
            if task.done():
                raise RuntimeError(f"the gateway's {task.get_coro()} has ended")

    async def _leave(self) -> None:
        await self._drain.run()
        # Those that nobody listened to; other gateways go on with them.
        await self._answers.close()
        await asyncio.to_thread(stop_tracing)

    async def __del__(self) -> None:
        """Called by Serve when the gateway is retired."""
        if hasattr(self, "_tasks"):
            await self._drain.stop()
            for task in self._tasks:
                task.cancel()
            await self._answers.close()
            await self._admission.close()
            await self._sessions.close()
            await asyncio.to_thread(stop_tracing)


def _answers(config: ClusterConfig, redis_url: str) -> KeptAnswers:
    patience_s = config.sessions.timeout_s
    return KeptAnswers(AnswerStore(redis_url, config.answers, patience_s), config.answers, patience_s)


def _read_variants(config: ClusterConfig) -> dict[str, RoutedVariant]:
    return {name: _read_variant(config, name) for name in config.variants}


def _read_variant(config: ClusterConfig, name: str) -> RoutedVariant:
    checkpoint_name = config.checkpoint_of(name)
    path = resolve_checkpoint(checkpoint_name, tokenizer_only=True)
    capabilities: Capabilities = read_capabilities(name, config.variants[name], path, checkpoint_name)
    return RoutedVariant(capabilities, PromptBuilder(path))
