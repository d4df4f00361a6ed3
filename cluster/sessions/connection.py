"""The one way to Redis: every operation has a deadline, and fails only with errors of our own tree."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cluster.errors import ClusterError, Overloaded, Unavailable

T = TypeVar("T")

_MAX_CONNECTIONS = 64
_AWAY = "Redis does not answer, so sessions cannot be read or stored; requests without a session go on"
_REFUSED = "Redis refuses the gateway's user or password; an operator must check sessions.redis_url"
_FULL = "Redis is out of memory; nothing was stored"
_CLUSTER = "Redis is one node of a Redis Cluster; sessions.redis_url must lead to a Redis or a proxy with all keys"
_NOT_READY = "Redis cannot serve sessions right now ({code}); nothing was stored"
# Error codes that go away with time, or with an operator: failover, loading, a full disk, too few replicas.
_NOT_READY_CODES = frozenset(
    ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "NOREPLICAS", "BUSY")
)
_REFUSED_CODES = {"NOAUTH", "WRONGPASS", "NOPERM"}
# Redis before 7 wraps the error of a command in a script: "ERR Error running script ...: 12: -OOM command ...".
_ERROR_CODE = re.compile(r": -([A-Z]+) |^([A-Z]+)\b")


class RedisConnection:
    """Runs operations on one Redis. Connects when first needed, and again by itself after Redis was away."""

    def __init__(self, url: str, timeout_s: float, away: str = _AWAY) -> None:
        """Takes a redis://, rediss:// or unix:// URL. Raises ValueError when it is none of those.

        `away` tells the caller what it means that Redis does not answer.
        """
        self._timeout_s = timeout_s
        self._away = away
        # No retries in the client: the deadline is the caller's, and the pool checks a connection before it
        # hands it out and replaces one that Redis has closed.
        self._pool = ConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=None,
        )
        self._client = Redis(connection_pool=self._pool)
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)

    async def run(self, operation: Callable[[Redis], Awaitable[T]]) -> T:
        """Awaits `operation(client)`, at most the timeout. Raises Unavailable, Overloaded or ClusterError.

        An operation cut off by its deadline may or may not have been carried out.
        """
        try:
            async with asyncio.timeout(self._timeout_s), self._slots:
                return await operation(self._client)
        except (TimeoutError, OSError, RedisError) as error:
            failure = to_cluster_error(error, self._away)
            if _code(error) == "READONLY":
                # After a failover the name may lead to the new primary: connect anew.
                await self._pool.disconnect(inuse_connections=False)
            raise failure from error

    async def close(self) -> None:
        """Closes every connection."""
        await self._pool.aclose()


def to_cluster_error(error: Exception, away: str = _AWAY) -> ClusterError:
    """What a failed Redis call means to the caller. Messages hold nothing of the URL or of the data."""
    code = _code(error)
    if code == "OOM":
        return Overloaded(_FULL, retry_after_s=5)
    if code in _REFUSED_CODES or isinstance(error, AuthenticationError | AuthorizationError):
        return Unavailable(_REFUSED, retry_after_s=10)
    if code in ("MOVED", "ASK"):
        return Unavailable(_CLUSTER, retry_after_s=10)
    if code in _NOT_READY_CODES:
        return Unavailable(_NOT_READY.format(code=code))
    if isinstance(error, TimeoutError | OSError | RedisConnectionError | RedisTimeoutError):
        return Unavailable(away)
    return ClusterError(f"the session store failed: {type(error).__name__}")


def _code(error: Exception) -> str:
    """Redis's error code, such as OOM; for an error inside a script, that of the command which failed."""
    code: str | None = getattr(error, "status_code", None)
    if code is None and isinstance(error, ResponseError):
        found = _ERROR_CODE.search(str(error))
        code = found.group(1) or found.group(2) if found else None
    return code or ""
