"""The one way to Redis: every operation has a deadline, and fails only with errors of our own tree."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisClusterException, RedisError

from cluster.redis_url import RedisUrl
from cluster.sessions.faults import AWAY, to_cluster_error
from cluster.sessions.sentinel_primary import SentinelPrimary
from cluster.sessions.service import RedisService
from cluster.sessions.sharded_cluster import ShardedCluster
from cluster.sessions.single_server import SingleServer

T = TypeVar("T")

_MAX_CONNECTIONS = 64


class RedisConnection:
    """Runs operations on one Redis. Connects when first needed, and again by itself after Redis was away."""

    def __init__(self, url: str, timeout_s: float, away: str = AWAY) -> None:
        """Takes a URL as RedisUrl does, and raises ValueError as it does.

        `away` tells the caller what it means that Redis does not answer.
        """
        self._timeout_s = timeout_s
        self._away = away
        self._service = _service(RedisUrl.parse(url), timeout_s)
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)

    async def run(self, operation: Callable[[Redis], Awaitable[T]]) -> T:
        """Awaits `operation(client)`, at most the timeout. Raises Unavailable, Overloaded or ClusterError.

        An operation cut off by its deadline may or may not have been carried out. In a Redis Cluster the keys of an
        operation's script or transaction must be of one slot.
        """
        try:
            async with asyncio.timeout(self._timeout_s), self._slots:
                return await operation(await self._service.client())
        except (TimeoutError, OSError, RedisError, RedisClusterException) as error:
            failure = to_cluster_error(error, self._away)
            await self._service.failed(error)
            raise failure from error

    async def close(self) -> None:
        """Closes every connection."""
        await self._service.close()


def _service(url: RedisUrl, timeout_s: float) -> RedisService:
    match url.kind:
        case "server":
            return SingleServer.at(url, _MAX_CONNECTIONS)
        case "sentinel":
            return SentinelPrimary(url, timeout_s, _MAX_CONNECTIONS)
        case "cluster":
            return ShardedCluster(url, timeout_s, _MAX_CONNECTIONS)
