"""What a failed Redis call means to the caller."""

from __future__ import annotations

import re

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import AuthenticationError, AuthorizationError, RedisClusterException, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cluster.errors import ClusterError, Overloaded, Unavailable

AWAY = "Redis does not answer, so sessions cannot be read or stored; requests without a session go on"
_REFUSED = "Redis refuses the gateway's user or password; an operator must check sessions.redis_url"
_FULL = "Redis is out of memory; nothing was stored"
_MOVED = "Redis Cluster has these keys on another node; sessions.redis_url must begin with redis+cluster://"
_NO_PRIMARY = (
    "no Sentinel answers with a primary that is up; Redis is failing over, or an operator must check sessions.redis_url"
)
_NO_SLOTS = "no node answers as one of a whole Redis Cluster; it is failing over, or an operator must check it"
_NOT_READY = "Redis cannot serve sessions right now ({code}); nothing was stored"
# Error codes that go away with time, or with an operator: failover, loading, a full disk, too few replicas.
_NOT_READY_CODES = frozenset(
    ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "ASK", "MISCONF", "NOREPLICAS", "BUSY")
)
_REFUSED_CODES = {"NOAUTH", "WRONGPASS", "NOPERM"}
# Redis before 7 wraps the error of a command in a script: "ERR Error running script ...: 12: -OOM command ...".
_ERROR_CODE = re.compile(r": -([A-Z]+) |^([A-Z]+)\b")


def to_cluster_error(error: BaseException, away: str = AWAY) -> ClusterError:
    """`away` is the message when Redis does not answer. Messages hold nothing of the URL or of the data."""
    code = code_of(error)
    if code == "OOM":
        return Overloaded(_FULL, retry_after_s=5)
    if code in _REFUSED_CODES or isinstance(error, AuthenticationError | AuthorizationError):
        return Unavailable(_REFUSED, retry_after_s=10)
    if code == "MOVED":
        return Unavailable(_MOVED, retry_after_s=10)
    if code in _NOT_READY_CODES:
        return Unavailable(_NOT_READY.format(code=code))
    if isinstance(error, RedisClusterException):
        # Of the last node that was asked where the slots are.
        return to_cluster_error(error.__cause__, away) if error.__cause__ else Unavailable(_NO_SLOTS)
    if isinstance(error, MasterNotFoundError):
        return Unavailable(_NO_PRIMARY)
    if isinstance(error, TimeoutError | OSError | RedisConnectionError | RedisTimeoutError):
        return Unavailable(away)
    return ClusterError(f"the session store failed: {type(error).__name__}")


def code_of(error: BaseException) -> str:
    """Redis's error code, such as OOM; for an error inside a script, that of the command which failed."""
    code: str | None = getattr(error, "status_code", None)
    if code is None and isinstance(error, ResponseError):
        found = _ERROR_CODE.search(str(error))
        code = found.group(1) or found.group(2) if found else None
    return code or ""
