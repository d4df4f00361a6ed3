"""AdminService: for those who run the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from cluster.errors import InvalidRequest, NotFound
from cluster.gateway.drain import Drain
from cluster.gateway.edge import Edge
from cluster.gateway.handlers import Context
from cluster.replicas import Replicas
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaLoadReport
from protos.gemmacluster.v1.admin_pb2 import (
    DrainRequest,
    DrainResponse,
    GetLoadsRequest,
    GetLoadsResponse,
    ReplicaLoad,
)

_TIMEOUT_S = 5.0


class AdminServicer:
    """Answers AdminService. Method names are those of the proto."""

    def __init__(self, replicas: Mapping[str, Replicas], drain: Drain, edge: Edge) -> None:
        self._replicas = replicas
        self._drain = drain
        self._edge = edge

    async def Drain(self, request: DrainRequest, context: Context) -> DrainResponse:
        """Drains this gateway, and answers when the other calls have ended. Goes on if the caller leaves."""
        grace_s = request.timeout.ToNanoseconds() / 1e9 if request.HasField("timeout") else None
        if grace_s is not None and grace_s < 0:
            raise InvalidRequest.of("timeout", f"must not be negative, and is {grace_s:g} s")
        self._edge.stand_aside()
        return DrainResponse(running_requests=await self._drain.run(grace_s))

    async def GetLoads(self, request: GetLoadsRequest, context: Context) -> GetLoadsResponse:
        """Asks every replica of the variant, or of all."""
        if request.variant and request.variant not in self._replicas:
            message = f"no variant {request.variant!r}; there are {', '.join(self._replicas)}"
            raise NotFound(message, resource_type="Model", resource_name=request.variant)
        names = [request.variant] if request.variant else list(self._replicas)
        reports = await asyncio.gather(*(self._replicas[name].loads(_TIMEOUT_S) for name in names))
        pairs = zip(names, reports, strict=True)
        return GetLoadsResponse(loads=[_load(name, report) for name, listed in pairs for report in listed])


def _load(variant: str, report: ReplicaLoadReport) -> ReplicaLoad:
    return ReplicaLoad(
        variant=variant,
        replica_id=report.replica_id,
        running_requests=report.running,
        waiting_requests=report.waiting,
        kv_cache_tokens=report.kv_tokens,
        kv_cache_capacity_tokens=report.kv_capacity_tokens,
        ranks=report.ranks,
    )
