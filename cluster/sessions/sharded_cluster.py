"""A Redis Cluster: every operation's keys are of one slot, and a slot's node is found again when it has changed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.exceptions import ClusterDownError, RedisClusterException, RedisError, ResponseError

from cluster.redis_url import RedisUrl
from cluster.sessions.moved_only import MovedOnly

# A node may take so long to connect, however short the deadline is.
_CONNECT_S = 0.5
# Then another node is asked where the slots are.
_FIND_S = 5.0


class ShardedCluster:
    """A RedisService. The nodes that the URL names are asked where the slots are, so they should be several."""

    def __init__(self, url: RedisUrl, timeout_s: float, max_connections: int) -> None:
        """Nodes that are silent when asked for the slots take at most a quarter of an operation's `timeout_s`."""
        self._patience_s = timeout_s / 4
        self._is_stale = True
        self._finding: asyncio.Task[None] | None = None
        self._client: RedisCluster = RedisCluster.from_url(
            url.plain,
            startup_nodes=[ClusterNode(host, port) for host, port in url.hosts[1:]],
            # The URL's names outlive the addresses that they stand for.
            dynamic_startup_nodes=False,
            # A slot that has moved is no reason to close the connections that others are using.
            reinitialize_steps=0,
            max_connections=max_connections,
            protocol=2,
            retry=MovedOnly(),
            socket_timeout=None,
            socket_connect_timeout=max(_CONNECT_S, self._patience_s),
        )

    async def client(self) -> Redis:
        """It has the commands of Redis, though redis-py gives them no type in common."""
        if self._is_stale:
            if self._finding is None or self._finding.done():
                self._finding = asyncio.create_task(self._find())
            await asyncio.wait([self._finding], timeout=self._patience_s)
        return cast(Redis, self._client)

    async def failed(self, error: Exception) -> None:
        """redis-py itself looks for the slots only after single commands, and not when a deadline has cut them off."""
        self._is_stale |= isinstance(error, ClusterDownError) or not isinstance(error, ResponseError)

    async def close(self) -> None:
        """redis-py's aclose() alone would do nothing when the last operation has failed."""
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.wait([self._finding])
        await self._client.aclose()
        for nodes in ("nodes_cache", "startup_nodes"):
            await self._client.nodes_manager.aclose(nodes)

    async def _find(self) -> None:
        """Where the slots are. A task of its own: it may take longer than the operation that began it may.

        When no node says it, operations find that out for themselves and fail with the reason.
        """
        with suppress(OSError, RedisError, RedisClusterException):
            async with asyncio.timeout(_FIND_S):
                await self._client.initialize()
                await self._client.nodes_manager.initialize()
            self._is_stale = False
