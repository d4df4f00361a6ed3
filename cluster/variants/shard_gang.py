"""The shards of one replica as one: requests spread over them, one health, one end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import suppress
from math import ceil
from typing import Any, Self

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from autoscaling.signals import ReplicaSignals, merged
from cluster.config import VariantConfig
from cluster.errors import ReplicaLost, Unavailable
from cluster.variants.replica import error_chunk
from cluster.variants.shard import Shard
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaLoadReport

logger = logging.getLogger("ray.serve.gemma_cluster.gang")
_HEALTH_PERIOD_S = 0.5
# An actor answers its health and load beside as many requests as a rank may hold.
_SPARE_CALLS = 16


class ShardGang:
    """Made by `start`. Once a shard is lost every request ends UNAVAILABLE, and `check` raises for ever."""

    def __init__(self, shards: list[ActorHandle[Shard]], timeout_s: float) -> None:
        self._shards, self._timeout_s = shards, timeout_s
        self._in_flight = [0] * len(shards)
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._watch = asyncio.create_task(self._watch_over())

    @classmethod
    async def start(cls, name: str, config: VariantConfig, checkpoint_name: str) -> Self:
        """Places a shard in each bundle of this actor's placement group, if it has one, and loads them all.

        Whatever keeps one from starting ends them all, and is raised.
        """
        shards = [_place(name, config, checkpoint_name, rank) for rank in range(config.expert_ranks)]
        try:
            address = await shards[0].open.remote()
            await asyncio.gather(*(shard.start.remote(address) for shard in shards))
        except BaseException:
            _kill(shards)
            raise
        return cls(shards, config.rank_timeout_s)

    async def generate(self, payload: bytes, affinity: int) -> AsyncGenerator[bytes, None]:
        """As EngineReplica.generate, on the shard with the fewest requests; of equals, the one of this `affinity`.

        Prompts that begin alike should have the same affinity: a shard's cache serves only those it has seen.
        """
        if self._lost.done():
            yield error_chunk(Unavailable(self._lost.result()))
            return
        rank = self._pick(affinity)
        self._in_flight[rank] += 1
        stream: Any = self._shards[rank].generate.options(num_returns="streaming").remote(payload)
        is_finished = False
        try:
            while (chunk := await self._unless_lost(_next(stream))) is not None:
                yield chunk
            is_finished = True
        except (RayError, Unavailable) as error:
            logger.warning("a request ends with its shard: %s", error)
            yield error_chunk(ReplicaLost("a shard of the replica that answered was lost"))
        finally:
            self._in_flight[rank] -= 1
            if not is_finished:
                with suppress(RayError):
                    ray.cancel(stream)

    async def reports(self) -> list[ReplicaLoadReport]:
        """What each shard is doing, by rank. Raises Unavailable if one is lost."""
        answers: list[bytes] = await self._unless_lost(asyncio.gather(*(s.load.remote() for s in self._shards)))
        return [ReplicaLoadReport.FromString(answer) for answer in answers]

    async def signals(self) -> ReplicaSignals:
        """What the autoscaler is told of the whole gang. Raises Unavailable if a shard is lost."""
        by_rank: list[ReplicaSignals] = await self._unless_lost(
            asyncio.gather(*(shard.signals.remote() for shard in self._shards))
        )
        return merged(by_rank)

    def check(self) -> None:
        """Raises Unavailable if a shard is lost: the gang must be replaced."""
        if self._lost.done():
            raise Unavailable(self._lost.result())

    async def stop(self) -> None:
        """Ends the shards, whatever they are doing."""
        self._watch.cancel()
        if not self._lost.done():
            with suppress(RayError, TimeoutError):
                stopped: Any = asyncio.gather(*(shard.stop.remote() for shard in self._shards))
                await asyncio.wait_for(stopped, self._timeout_s)
        _kill(self._shards)

    def _pick(self, affinity: int) -> int:
        count = len(self._shards)
        return min(range(count), key=lambda rank: (self._in_flight[rank], (rank - affinity) % count))

    async def _unless_lost(self, answer: Awaitable[Any]) -> Any:
        """A shard that hangs answers never."""
        task = asyncio.ensure_future(answer)
        try:
            await asyncio.wait((task, self._lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
        if task.done() and not task.cancelled():
            return task.result()
        self.check()
        raise AssertionError("neither an answer nor a loss")

    async def _watch_over(self) -> None:
        while not self._lost.done():
            await asyncio.sleep(_HEALTH_PERIOD_S)
            try:
                healths: Any = asyncio.gather(*(shard.check_health.remote() for shard in self._shards))
                await asyncio.wait_for(healths, self._timeout_s)
            except (RayError, TimeoutError) as error:
                reason = str(error) or f"a shard did not answer within {self._timeout_s:g} s"
                logger.error("the gang ends: %s", reason)
                self._lost.set_result(reason)


async def _next(stream: Any) -> bytes | None:
    """None after the last."""
    try:
        chunk: bytes = await (await anext(stream))
    except StopAsyncIteration:
        return None
    return chunk


def _place(name: str, config: VariantConfig, checkpoint_name: str, rank: int) -> ActorHandle[Shard]:
    own = rank_config(config)
    group = ray.util.get_current_placement_group()
    strategy = None if group is None else PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
    actor: Any = ray.remote(Shard)
    actor = actor.options(
        num_cpus=own.num_cpus,
        num_gpus=own.num_gpus,
        max_concurrency=own.max_batch_size + own.max_queued_requests + _SPARE_CALLS,
        scheduling_strategy=strategy,
    )
    handle: ActorHandle[Shard] = actor.remote(name, own, checkpoint_name, rank)
    return handle


def _kill(shards: list[ActorHandle[Shard]]) -> None:
    for shard in shards:
        ray.kill(shard)


def rank_config(config: VariantConfig) -> VariantConfig:
    """A rank's part of what the configuration gives the whole replica."""
    count = config.expert_ranks
    tokens = config.kv_cache_tokens
    return config.model_copy(
        update={
            "max_batch_size": ceil(config.max_batch_size / count),
            "max_queued_requests": ceil(config.max_queued_requests / count),
            "kv_cache_tokens": None if tokens is None else ceil(tokens / count),
            "num_cpus": config.num_cpus / count,
            "num_gpus": config.num_gpus / count,
        }
    )
