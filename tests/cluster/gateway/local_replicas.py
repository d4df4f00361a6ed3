"""Stands in for `cluster.replicas.Replicas`: one replica in this process instead of many behind a Serve handle."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from google.rpc import status_pb2

from cluster.config import VariantConfig
from cluster.errors import ClusterError, error_from_status
from cluster.loads import LoadMonitor, ReplicaCount
from cluster.migration import migrating
from cluster.variants.dense import DenseVariant
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk, ReplicaLoadReport, ReplicaRequest
from tests.cluster.gateway.hooked_engine import HookedEngine


class _LocalVariant(DenseVariant):
    """The replica's own code. Serve awaits `__init__` and `__del__`; here nobody would await the second."""

    def __del__(self) -> None:  # type: ignore[override]
        pass


class LocalReplicas:
    """The real replica, called without Ray; `engine` takes hooks."""

    def __init__(self, variant: DenseVariant, engine: HookedEngine) -> None:
        self._variant = variant
        self.engine = engine
        self.in_flight = 0

    @classmethod
    async def make(cls, name: str, config: VariantConfig, checkpoint: str) -> LocalReplicas:
        """Loads the checkpoint, as Serve does when it makes a replica."""
        variant = _LocalVariant.__new__(_LocalVariant)
        await variant.__init__(name, config.model_dump(), checkpoint)
        engine = variant._engine = HookedEngine(variant._engine)
        return cls(variant, engine)

    async def generate(
        self, request: ReplicaRequest, begun: Iterable[ReplicaChunk] = ()
    ) -> AsyncGenerator[ReplicaChunk, None]:
        """As the real one does; whoever is asked to go on with an answer is the same replica again."""
        self.in_flight += 1
        try:
            async with aclosing(migrating(self._attempt, request, begun)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self.in_flight -= 1

    async def _attempt(self, request: ReplicaRequest) -> AsyncGenerator[ReplicaChunk, None]:
        """Bytes both ways, and errors as statuses, as between processes."""
        async with aclosing(self._payloads(request.SerializeToString())) as payloads:
            async for payload in payloads:
                chunk = ReplicaChunk.FromString(payload)
                if chunk.error_status:
                    status = status_pb2.Status.FromString(chunk.error_status)
                    raise error_from_status(status) or ClusterError(status.message)
                yield chunk

    async def _payloads(self, request: bytes) -> AsyncGenerator[bytes, None]:
        """What would cross to the gateway's process; our own errors must do so as bytes."""
        async with aclosing(self._variant.generate(request)) as payloads:
            try:
                async for payload in payloads:
                    yield payload
            except ClusterError as error:
                raise AssertionError("a replica's error left it as an exception") from error

    async def loads(self, timeout_s: float) -> list[ReplicaLoadReport]:
        """The one replica's load."""
        load = self.engine.load()
        return [ReplicaLoadReport(running=load.running, waiting=load.waiting, replica_id="local")]


class KnownCounts(LoadMonitor):
    """The load monitor with replica counts that a test sets, where the Serve controller would be asked."""

    def set_running(self, variant: str, running: int) -> None:
        """That many replicas from now on."""
        self._set_counts({**self._counts, variant: ReplicaCount(running, running)})
