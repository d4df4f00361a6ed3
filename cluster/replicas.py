"""The gateway's way to the replicas of one variant: a Serve handle over the gRPC transport, bytes both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, cast

import grpc
from google.rpc import status_pb2
from ray.exceptions import NodeDiedError, RayActorError, RayError, WorkerCrashedError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from cluster.errors import (
    ClusterError,
    Overloaded,
    ReplicaLeaves,
    ReplicaLost,
    ReplicaSilent,
    Unavailable,
    error_from_status,
)
from cluster.metrics import MIGRATIONS
from cluster.migration import migrating
from cluster.placement.placement import Placement
from cluster.tracing import carried, span
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk, ReplicaLoadReport, ReplicaRequest

# Of its process or its node. gRPC's own errors are of the connection to it: what the replica raises comes as Ray's.
_LOSSES = (RayActorError, WorkerCrashedError, NodeDiedError, grpc.aio.AioRpcError)


class Replicas:
    """Sends requests to whichever replica of a variant Serve picks, and counts those in flight from here."""

    def __init__(self, variant: str, handle: DeploymentHandle[Any]) -> None:
        self._variant = variant
        self._unary_handle = handle.options(_by_reference=False)
        # Each look-up of a method makes a handle. Bytes need nothing that Serve's slower default could do.
        self._generate = handle.options(stream=True, _by_reference=False, request_serialization="pickle").generate
        self.in_flight = 0

    async def generate(
        self, request: ReplicaRequest, begun: Iterable[ReplicaChunk] = ()
    ) -> AsyncGenerator[ReplicaChunk, None]:
        """Streams a replica's chunks, those behind `begun`. Closing this, or cancelling the task that reads it, reaches
        the replica.

        When the replica dies, another goes on: see `cluster.migration`. Raises the replica's own ClusterError,
        Overloaded for a full queue, Unavailable when there is nobody to go on.
        """
        self.in_flight += 1
        try:
            attempt = partial(self._attempt, set())
            async with aclosing(migrating(attempt, request, begun)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self.in_flight -= 1

    async def _attempt(self, lost: set[str], request: ReplicaRequest) -> AsyncGenerator[ReplicaChunk, None]:
        """The chunks of one replica, preferably none of those `lost`, to which it is added when it is lost itself.

        Raises Unavailable if it was lost before and has sent nothing since: it is asked again while Serve knows no
        other, which is no further loss.
        """
        with span(f"replica {self._variant}", gen_ai__request__model=self._variant) as attempt:
            request.traceparent = carried(attempt)
            async with aclosing(self._placed(lost, request)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _placed(self, lost: set[str], request: ReplicaRequest) -> AsyncGenerator[ReplicaChunk, None]:
        has_begun = False
        payload = request.SerializeToString()
        placement = Placement.of(payload, [(item.token_offset, item.data) for item in request.media], lost)
        try:
            async with aclosing(self._chunks(payload, placement)) as chunks:
                async for chunk in chunks:
                    has_begun = True
                    yield chunk
                    if placement.is_over and not chunk.HasField("result"):
                        raise ReplicaLeaves(f"the replica of {self._variant} that answered leaves")
        except ReplicaLost as loss:
            if placement.replica in lost and not has_begun:
                raise Unavailable(f"no replica of {self._variant} is left") from loss
            lost.update(filter(None, [placement.replica]))
            MIGRATIONS.record(1, self._variant, loss.reason)
            raise

    async def _chunks(self, payload: bytes, placement: Placement) -> AsyncGenerator[ReplicaChunk, None]:
        stream, is_finished = self._start(payload, placement), False
        # Soon, not at once: a stream whose replica was found in this very moment does not know it yet.
        placement.on_lost = partial(asyncio.get_running_loop().call_soon, _cancel, stream)
        try:
            async for serialised in stream:
                chunk = ReplicaChunk.FromString(serialised)
                if chunk.error_status:
                    raise _replica_error(chunk.error_status)
                yield chunk
            is_finished = True
        except (RayServeException, RayError, grpc.aio.AioRpcError) as error:
            if placement.is_lost:
                raise ReplicaSilent(f"the replica of {self._variant} that was asked gives no sign of life") from error
            raise self._translate(error) from error
        finally:
            placement.leave()
            if not is_finished:
                _cancel(stream)

    async def loads(self, timeout_s: float) -> list[ReplicaLoadReport]:
        """What each running replica is doing; replicas that do not answer in time are left out."""
        response = self._unary_handle.broadcast("load")
        results = await response.results_async(timeout_s=timeout_s, return_exceptions=True)
        return [ReplicaLoadReport.FromString(result) for result in results if isinstance(result, bytes)]

    def _start(self, payload: bytes, placement: Placement) -> DeploymentResponseGenerator[Any]:
        return cast(DeploymentResponseGenerator[Any], self._generate.remote(payload, placement))

    def _translate(self, error: Exception) -> ClusterError:
        if isinstance(error, BackPressureError):
            return Overloaded(f"all replicas of {self._variant} are busy and their queue is full")
        if isinstance(error, (DeploymentUnavailableError, ReplicaUnavailableError)):
            return Unavailable(f"no replica of {self._variant} is available", retry_after_s=5)
        if isinstance(error, _LOSSES):
            return ReplicaLost(f"the replica of {self._variant} that answered was lost")
        return Unavailable(f"the replica of {self._variant} that answered has failed; nothing was stored")


def _cancel(stream: DeploymentResponseGenerator[Any]) -> None:
    """Does not block: what waits for a replica is withdrawn, what runs on one is told to stop."""
    with suppress(RayServeException, RayError):  # it failed by itself, and says so again
        stream.cancel()  # type: ignore[no-untyped-call]


def _replica_error(status: bytes) -> ClusterError:
    parsed = status_pb2.Status.FromString(status)
    return error_from_status(parsed) or ClusterError(parsed.message)
