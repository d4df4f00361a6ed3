"""What the Lua scripts answer, as records and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from cluster.errors import AlreadyExists, ClusterError, InvalidRequest, NotFound, SessionConflict, Unavailable
from cluster.sessions.record import SessionRecord, from_fields

_MIB = 1024 * 1024
_TYPE = "Session"


def fields_of(session_id: str, reply: Sequence[Any], etag: str = "") -> dict[bytes, bytes]:
    """The meta fields of an OK reply; the error that any other reply stands for is raised.

    `etag` is the one the caller gave, for the message of a conflict.
    """
    status, *rest = reply
    if status != b"OK":
        _raise(session_id, status, rest, etag)
    return dict(zip(rest[::2], rest[1::2], strict=True))


def record_of(session_id: str, reply: Sequence[Any], etag: str = "") -> SessionRecord:
    """The record of an OK reply, or its error, as above."""
    return from_fields(session_id, fields_of(session_id, reply, etag))


def lost(session_id: str) -> NotFound:
    """Redis has thrown away part of a session, which happens when it evicts keys to make room."""
    message = f"session {session_id} has lost a part; Redis must run with maxmemory-policy noeviction"
    return NotFound(message, resource_type=_TYPE, resource_name=session_id)


def too_large(size: int, max_bytes: int) -> InvalidRequest:
    """A session that would grow over the limit."""
    message = (
        f"the session would hold {size / _MIB:.1f} MiB, media included, and may hold {max_bytes // _MIB} MiB;"
        " start a new session"
    )
    return InvalidRequest.of("session_id", message)


def _raise(session_id: str, status: bytes, rest: Sequence[bytes], etag: str) -> NoReturn:
    resource: Mapping[str, str] = {"resource_type": _TYPE, "resource_name": session_id}
    match status:
        case b"NOT_FOUND":
            raise NotFound(f"session {session_id} does not exist, or has expired", **resource)
        case b"EXISTS":
            raise AlreadyExists(f"session {session_id} exists already", **resource)
        case b"CONFLICT":
            message = f"session {session_id} is at etag {rest[0].decode()}, not {etag}; read it and try again"
            raise SessionConflict(message, **resource)
        case b"TOO_LARGE":
            raise too_large(int(rest[0]), int(rest[1]))
        case b"LOST":
            raise lost(session_id)
        case b"VERSION":
            # While a fleet is upgraded, another gateway can read it.
            raise Unavailable(f"session {session_id} was stored by another release (schema {rest[0].decode()})")
    raise ClusterError(f"the session store answered {status!r}")
