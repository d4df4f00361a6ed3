"""What is behind a URL: one way to use a Redis server, one that Sentinels name, and a Redis Cluster."""

from __future__ import annotations

from typing import Protocol

from redis.asyncio import Redis


class RedisService(Protocol):
    """Connects when first needed. It sends nothing twice: a lost reply may be that of a change that was made."""

    async def client(self) -> Redis:
        """A client for one operation. Raises redis-py's errors, also RedisClusterException, which is no RedisError."""

    async def failed(self, error: Exception) -> None:
        """Told of every operation's failure, so that the next one finds what has changed. Returns at once."""

    async def close(self) -> None:
        """Closes every connection."""
