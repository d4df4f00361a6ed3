"""One Redis server, or a proxy that looks like one."""

from __future__ import annotations

from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cluster.redis_url import RedisUrl
from cluster.sessions.faults import code_of


class SingleServer:
    """A RedisService. Its pool checks a connection before it hands it out and replaces one that Redis has closed."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._pool = client.connection_pool

    @classmethod
    def at(cls, url: RedisUrl, max_connections: int) -> SingleServer:
        """Raises ValueError when redis-py cannot read the URL."""
        return cls(Redis(connection_pool=ConnectionPool.from_url(url.plain, **connection_options(max_connections))))

    async def client(self) -> Redis:
        """The same for all operations."""
        return self._client

    async def failed(self, error: Exception) -> None:
        """After a failover the name may lead to the new primary: connect anew."""
        if code_of(error) == "READONLY":
            await self._pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """Closes every connection."""
        await self._pool.aclose()


def connection_options(max_connections: int) -> dict[str, Any]:
    """Of redis-py: no retries and no timeouts of its own, for the deadline is the caller's."""
    return {
        "max_connections": max_connections,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": None,
    }
