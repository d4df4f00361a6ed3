"""A session as the store hands it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from protos.gemmacluster.v1.content_pb2 import Content


@dataclass(frozen=True)
class SessionRecord:
    """A conversation. Times are seconds since the epoch by Redis's clock; `contents` is None unless read.

    `content_count` is how many contents the turns hold. `size_bytes` is what counts against the size limit: the
    turns, the instruction, and each media file once.
    """

    session_id: str
    etag: str
    created_at: float
    updated_at: float
    expires_at: float
    ttl_s: float
    turns: int
    variant_pin: str | None
    system_instruction: Content | None
    contents: tuple[Content, ...] | None = None
    content_count: int = 0
    size_bytes: int = 0

    def with_contents(self, contents: tuple[Content, ...]) -> SessionRecord:
        """The same session with what was said."""
        return replace(self, contents=contents)


def from_fields(session_id: str, fields: Mapping[bytes, bytes]) -> SessionRecord:
    """A record from the fields of the session's meta hash."""
    system = fields[b"system"]
    return SessionRecord(
        session_id=session_id,
        etag=fields[b"etag"].decode(),
        created_at=int(fields[b"created_us"]) / 1e6,
        updated_at=int(fields[b"updated_us"]) / 1e6,
        expires_at=int(fields[b"expires_us"]) / 1e6,
        ttl_s=int(fields[b"ttl_ms"]) / 1e3,
        turns=int(fields[b"turns"]),
        variant_pin=fields[b"pin"].decode() or None,
        system_instruction=Content.FromString(system[1:]) if system else None,
        content_count=int(fields[b"contents"]),
        size_bytes=int(fields[b"bytes"]),
    )
