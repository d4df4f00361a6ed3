"""An engine that answers serialised internal messages: what every kind of replica has."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from autoscaling.signals import ReplicaSignals
from cluster.capabilities import read_capabilities
from cluster.checkpoints import resolve_checkpoint
from cluster.config import VariantConfig
from cluster.engines.base import Engine, EngineMedium, EngineOutput, EngineRequest
from cluster.engines.build import build_engine
from cluster.errors import ClusterError
from cluster.placement.held import HeldPrefixes
from cluster.placement.prefix import unpack
from cluster.variants.leave import Leave
from cluster.variants.meter import Meter
from cluster.variants.packing import ChunkPacker, Pacer, ready_outputs
from cluster.variants.phases import phases
from cluster.variants.sampling import sampling_params
from protos.gemmacluster.internal.v1.replica_pb2 import (
    ReplicaChunk,
    ReplicaLoadReport,
    ReplicaMedia,
    ReplicaRequest,
)

if TYPE_CHECKING:
    from model.runtime.gang import GangSeat


class EngineReplica:
    """Answers with `_engine`, which whoever derives from this makes and starts."""

    _engine: Engine
    _pacer: Pacer
    _meter: Meter
    _held: HeldPrefixes
    _leave: Leave | None = None

    async def generate(self, payload: bytes, prefix_hashes: bytes = b"") -> AsyncGenerator[bytes, None]:
        """Takes a ReplicaRequest, yields ReplicaChunks. Cancelling it frees the engine's slot.

        `prefix_hashes` are those of its prompt, 8 bytes each; the replica reports which of them it holds.
        An error is the last chunk, so that its status and details reach the gateway whole.
        """
        request = ReplicaRequest.FromString(payload)
        packer = ChunkPacker(request.request_id, request.max_tokens_per_message, request.progress)
        try:
            if self._leave is not None and self._leave.has_begun:
                raise self._leave.error()
            async with aclosing(self._batches(request)) as batches:
                async for batch in batches:
                    if prefix_hashes:
                        self._held.used(unpack(prefix_hashes), self._engine.load().kv_capacity_tokens)
                        prefix_hashes = b""
                    yield packer.pack(batch).SerializeToString()
                    if self._leave is not None and self._leave.is_over and batch[-1].finish_reason is None:
                        raise self._leave.error()
        except ClusterError as error:
            yield error_chunk(error)

    async def _batches(self, request: ReplicaRequest) -> AsyncGenerator[list[EngineOutput], None]:
        """The engine's outputs, as many together as are ready, and counted."""
        outputs = self._engine.generate(_engine_request(request))
        with phases(request) as phase, self._meter.answer(len(request.prompt_token_ids)) as answer:
            async with aclosing(ready_outputs(outputs, self._pacer)) as ready:
                async for batch in ready:
                    phase.wrote(batch)
                    self._meter.wrote(answer, sum(output.token_count for output in batch))
                    yield batch

    async def check_health(self) -> None:
        """Raises when the engine must be replaced. Called by Serve, for a replica."""
        await self._engine.check_health()

    def signals(self) -> ReplicaSignals:
        """What the autoscaler is told."""
        return self._meter.signals(self._engine.load())

    def report(self) -> ReplicaLoadReport:
        """How busy the engine is."""
        load = self._engine.load()
        return ReplicaLoadReport(
            running=load.running,
            waiting=load.waiting,
            kv_tokens=load.kv_tokens,
            kv_capacity_tokens=load.kv_capacity_tokens,
            expert_bytes=int(load.details.get("expert_bytes", 0)),
        )


def make_engine(name: str, config: VariantConfig, checkpoint_name: str, seat: GangSeat | None = None) -> Engine:
    """May download the checkpoint, so it is not for the event loop. With `seat` it is one rank of a gang."""
    checkpoint = resolve_checkpoint(checkpoint_name)
    capabilities = read_capabilities(name, config, checkpoint, checkpoint_name)
    return build_engine(checkpoint, config, capabilities.context_tokens, seat)


def error_chunk(error: ClusterError) -> bytes:
    """The last chunk of a request that failed."""
    return bytes(ReplicaChunk(error_status=error.to_status().SerializeToString()).SerializeToString())


def _engine_request(request: ReplicaRequest) -> EngineRequest:
    media = tuple(map(engine_medium, request.media))
    sampling, answered = sampling_params(request.sampling), tuple(request.progress.token_ids)
    return EngineRequest(request.request_id, list(request.prompt_token_ids), sampling, media, answered)


def engine_medium(medium: ReplicaMedia) -> EngineMedium:
    """As engines take it."""
    most = medium.max_soft_tokens if medium.HasField("max_soft_tokens") else None
    return EngineMedium(medium.mime_type, medium.data, most)
