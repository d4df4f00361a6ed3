"""A variant that fits one replica whole: Ray Serve scales it by making more of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ray import serve

from cluster.capabilities import read_capabilities
from cluster.checkpoints import resolve_checkpoint
from cluster.config import VariantConfig
from cluster.engines.base import Engine, EngineMedium, EngineRequest
from cluster.engines.build import build_engine
from cluster.errors import ClusterError
from cluster.variants.packing import ChunkPacker, Pacer, ready_outputs
from cluster.variants.sampling import sampling_params
from protos.gemmacluster.internal.v1.replica_pb2 import (
    ReplicaChunk,
    ReplicaLoadReport,
    ReplicaMedia,
    ReplicaRequest,
)


class DenseVariant:
    """One replica: an engine over one checkpoint. Speaks serialised internal messages."""

    async def __init__(self, name: str, config: dict[str, Any], checkpoint_name: str) -> None:  # type: ignore[misc]
        """Loads the checkpoint; Serve awaits it before the replica takes requests."""
        variant_config = VariantConfig.model_validate(config)
        self._engine = await asyncio.to_thread(_make_engine, name, variant_config, checkpoint_name)
        await self._engine.start()
        self._pacer = Pacer()

    async def generate(self, payload: bytes) -> AsyncGenerator[bytes, None]:
        """Takes a ReplicaRequest, yields ReplicaChunks. Cancelling it frees the engine's slot.

        An error is the last chunk, so that its status and details reach the gateway whole.
        """
        request = ReplicaRequest.FromString(payload)
        packer = ChunkPacker(request.request_id, request.max_tokens_per_message)
        try:
            outputs = self._engine.generate(_engine_request(request))
            async with aclosing(ready_outputs(outputs, self._pacer)) as ready:
                async for batch in ready:
                    yield packer.pack(batch).SerializeToString()
        except ClusterError as error:
            yield ReplicaChunk(error_status=error.to_status().SerializeToString()).SerializeToString()

    async def load(self) -> bytes:
        """A ReplicaLoadReport."""
        load = self._engine.load()
        report = ReplicaLoadReport(
            running=load.running,
            waiting=load.waiting,
            kv_tokens=load.kv_tokens,
            kv_capacity_tokens=load.kv_capacity_tokens,
            replica_id=serve.get_replica_context().replica_id.unique_id,
        )
        return bytes(report.SerializeToString())

    async def check_health(self) -> None:
        """Called by Serve; raises when the replica must be replaced."""
        await self._engine.check_health()

    async def __del__(self) -> None:
        """Called by Serve when the replica is retired, after its requests have ended."""
        if hasattr(self, "_engine"):
            await self._engine.stop()


def _make_engine(name: str, config: VariantConfig, checkpoint_name: str) -> Engine:
    """May download the checkpoint, so it is not for the event loop."""
    checkpoint = resolve_checkpoint(checkpoint_name)
    capabilities = read_capabilities(name, config, checkpoint, checkpoint_name)
    return build_engine(checkpoint, config, capabilities.context_tokens)


def _engine_request(request: ReplicaRequest) -> EngineRequest:
    media = tuple(map(engine_medium, request.media))
    return EngineRequest(request.request_id, list(request.prompt_token_ids), sampling_params(request.sampling), media)


def engine_medium(medium: ReplicaMedia) -> EngineMedium:
    """As engines take it."""
    most = medium.max_soft_tokens if medium.HasField("max_soft_tokens") else None
    return EngineMedium(medium.mime_type, medium.data, most)
