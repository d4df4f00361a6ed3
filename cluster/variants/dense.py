"""A variant that fits one replica whole: Ray Serve scales it by making more of them."""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve

from autoscaling.serve_policy import stats
from cluster.config import VariantConfig
from cluster.metrics import record_load
from cluster.placement.held import HeldPrefixes
from cluster.placement.request_router import HELD_PREFIXES
from cluster.sigterm import drain_on_sigterm
from cluster.tracing import start_tracing, stop_tracing
from cluster.variants.leave import Leave
from cluster.variants.meter import Meter
from cluster.variants.packing import Pacer
from cluster.variants.replica import EngineReplica, make_engine
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaLoadReport


class DenseVariant(EngineReplica):
    """One replica: an engine over one checkpoint. Speaks serialised internal messages."""

    _leave: Leave

    async def __init__(self, name: str, config: dict[str, Any], checkpoint_name: str) -> None:  # type: ignore[misc]
        """Loads the checkpoint; Serve awaits it before the replica takes requests."""
        variant_config = VariantConfig.model_validate(config)
        start_tracing()
        self._engine = await asyncio.to_thread(make_engine, name, variant_config, checkpoint_name)
        await self._engine.start()
        self._pacer, self._meter = Pacer(), Meter()
        self._held = HeldPrefixes()
        self._leave = Leave(variant_config.replicas.drain_grace_s)
        drain_on_sigterm(self.drain)

    async def check_health(self) -> None:
        """Called by Serve; raises when the engine must be replaced."""
        record_load(serve.get_replica_context().deployment, ReplicaLoadReport.FromString(await self.load()))
        await super().check_health()

    async def drain(self) -> None:
        """Takes no new requests, and returns when those that run have ended, or went on on another replica."""
        await self._leave.run(self._num_running)
        await asyncio.to_thread(stop_tracing)

    def _num_running(self) -> int:
        load = self._engine.load()
        return load.running + load.waiting

    async def record_routing_stats(self) -> dict[str, bytes]:
        """Called by Serve, which passes it to the request routers of all gateways."""
        return {HELD_PREFIXES: self._held.packed()}

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve, which passes it to the autoscaling policy in its controller."""
        return stats(self.signals())

    async def load(self) -> bytes:
        """A ReplicaLoadReport."""
        report = self.report()
        report.replica_id = serve.get_replica_context().replica_id.unique_id
        return bytes(report.SerializeToString())

    async def __del__(self) -> None:
        """Called by Serve when the replica is retired, after its requests have ended."""
        if hasattr(self, "_engine"):
            await self._engine.stop()
        await asyncio.to_thread(stop_tracing)
