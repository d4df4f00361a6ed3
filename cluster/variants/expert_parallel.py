"""A mixture of experts whose experts are spread over ranks: one replica is a gang of shards in one placement group.

Serve gives each replica a placement group with a bundle for every rank (PACK: on as few nodes as can be) and puts
this actor, which needs no resources, into the first. It makes the shards, so that they die with it. Serve's own gang
scheduling was the other way: every rank a replica, restarted together. It is alpha, and its members are drained one
by one, each as soon as it has no requests of its own; but a rank whose own requests have ended still holds experts
that the others need. Here Serve sees one replica: with one health, drained as one, replaced as one, counted as one by
autoscaling and routing; and requests go to the rank with the fewest, which Serve could not know.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ray import serve

from autoscaling.serve_policy import stats
from cluster.config import VariantConfig
from cluster.metrics import record_load
from cluster.variants.shard_gang import ShardGang, rank_config
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaLoadReport, ReplicaRequest
from protos.gemmacluster.v1.admin_pb2 import RankLoad

# Enough to tell the first words of conversations apart, and no more than a second turn repeats.
_AFFINITY_TOKENS = 48


class ExpertParallelVariant:
    """One replica. Speaks serialised internal messages, as DenseVariant does."""

    async def __init__(self, name: str, config: dict[str, Any], checkpoint_name: str) -> None:  # type: ignore[misc]
        """Starts the gang; Serve awaits it before the replica takes requests."""
        self._gang = await ShardGang.start(name, VariantConfig.model_validate(config), checkpoint_name)

    async def generate(self, payload: bytes, prefix_hashes: bytes = b"") -> AsyncGenerator[bytes, None]:
        """Takes a ReplicaRequest, yields ReplicaChunks. Cancelling it frees the shard's slot. Reports no prefixes."""
        prompt = ReplicaRequest.FromString(payload).prompt_token_ids[:_AFFINITY_TOKENS]
        affinity = zlib.crc32(repr(prompt).encode())
        async with aclosing(self._gang.generate(payload, affinity)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def load(self) -> bytes:
        """A ReplicaLoadReport: all ranks together, and each."""
        reports = await self._gang.reports()
        total = ReplicaLoadReport(
            running=sum(report.running for report in reports),
            waiting=sum(report.waiting for report in reports),
            kv_tokens=sum(report.kv_tokens for report in reports),
            kv_capacity_tokens=sum(report.kv_capacity_tokens for report in reports),
            replica_id=serve.get_replica_context().replica_id.unique_id,
            ranks=[_rank_load(rank, report) for rank, report in enumerate(reports)],
        )
        return bytes(total.SerializeToString())

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve, which passes it to the autoscaling policy in its controller."""
        return stats(await self._gang.signals())

    async def check_health(self) -> None:
        """Called by Serve; raises when a shard is lost, and with it the gang."""
        self._gang.check()
        record_load(serve.get_replica_context().deployment, ReplicaLoadReport.FromString(await self.load()))

    async def __del__(self) -> None:
        """Called by Serve when the replica is retired, after its requests have ended."""
        if hasattr(self, "_gang"):
            await self._gang.stop()


def placement(config: VariantConfig) -> dict[str, Any]:
    """Serve's options for a deployment of this kind."""
    rank = rank_config(config)
    bundle = {"CPU": rank.num_cpus} if rank.num_cpus else {}
    bundle |= {"GPU": rank.num_gpus} if rank.num_gpus else {}
    return {
        "placement_group_bundles": [dict(bundle) for _ in range(config.expert_ranks)],
        "placement_group_strategy": "PACK",
        "health_check_period_s": 1,
        "health_check_timeout_s": config.rank_timeout_s,
    }


def _rank_load(rank: int, report: ReplicaLoadReport) -> RankLoad:
    return RankLoad(
        rank=rank,
        running_requests=report.running,
        waiting_requests=report.waiting,
        expert_bytes=report.expert_bytes,
        kv_cache_tokens=report.kv_tokens,
    )
