"""Sessions in Redis, shared by all gateways. Each change is one atomic script; the only clock is Redis's."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from cluster.config import SessionsConfig
from cluster.errors import InvalidRequest
from cluster.sessions import index, scripts
from cluster.sessions.connection import RedisConnection
from cluster.sessions.index import Member
from cluster.sessions.listing import member_of, prune, read_page
from cluster.sessions.packing import MediaLost, PackedContents, has_media, pack, unpack
from cluster.sessions.record import SessionRecord
from cluster.sessions.replies import fields_of, lost, record_of, too_large
from protos.gemmacluster.v1.content_pb2 import Content

__all__ = ["SessionRecord", "SessionStore"]

MAX_PAGE_SIZE = 1000
ANSWER_ROOM_BYTES = 256 * 1024
"""Room that `ensure_room` keeps for an answer that is not known yet."""
_MIB = 1024 * 1024
_SESSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class SessionStore:
    """Creates, reads, lists, extends and deletes sessions.

    A session lives `ttl_s` after its last use. Uses are its creation, a stored turn, and a read with `touch`, which
    is how a generation begins, so that its whole ttl lies before the answer. Other reads are not uses.

    Every method raises Unavailable within `config.timeout_s` when Redis does not answer; nothing is ever answered
    from memory. After Unavailable, a change may or may not have been made. It works again by itself when Redis is
    back. Overloaded means that Redis is out of memory, and nothing was changed.
    """

    def __init__(self, redis_url: str, config: SessionsConfig) -> None:
        """Connects on first use. Raises ValueError when the URL is none that RedisUrl takes."""
        self._config = config
        self._max_bytes = config.max_session_mb * _MIB
        self._redis = RedisConnection(redis_url, config.timeout_s)

    async def ping(self) -> None:
        """Raises Unavailable when Redis does not answer."""
        await self._redis.run(lambda client: client.ping())

    async def close(self) -> None:
        """Closes all connections."""
        await self._redis.close()

    async def create(
        self,
        session_id: str | None = None,
        ttl_s: float | None = None,
        system_instruction: Content | None = None,
        variant_pin: str | None = None,
    ) -> SessionRecord:
        """Makes an empty session; the default id is a random UUID, the default ttl the configuration's.

        Raises InvalidRequest for a bad id, ttl or instruction, AlreadyExists when the id is taken.
        """
        session_id = _checked(str(uuid.uuid4()) if session_id is None else session_id)
        arguments = [
            scripts.SCHEMA,
            self._ttl_ms(ttl_s),
            variant_pin or "",
            _packed_system(system_instruction),
            self._max_bytes,
        ]
        return await self._redis.run(lambda client: self._create(client, session_id, arguments))

    async def get(self, session_id: str, *, with_contents: bool, touch: bool = False) -> SessionRecord:
        """Reads a session, all at one moment. With `touch` its life starts anew.

        Raises NotFound when it never was, was deleted or has expired.
        """
        _checked(session_id)
        return await self._redis.run(lambda client: self._get(client, session_id, with_contents, touch))

    async def append_turn(
        self,
        session_id: str,
        *,
        etag: str,
        contents: Sequence[Content],
        variant: str,
        request_id: str,
        before: SessionRecord | None = None,
    ) -> SessionRecord:
        """Stores a turn made from the state at `etag`, and pins the session to `variant`. One round trip if `before`,
        the session as it was read, is given.

        Storing the same `request_id` again changes nothing and returns what the first time did, so a call that
        failed with Unavailable can be made again. Raises SessionConflict when another turn came first, NotFound
        when the session is gone, InvalidRequest when it would grow over the limit.
        """
        _checked(session_id)
        packed = await asyncio.to_thread(pack, contents) if has_media(contents) else pack(contents)
        arguments = [scripts.SCHEMA, etag, request_id, variant, self._max_bytes, *_flat(packed)]
        return await self._redis.run(lambda client: self._append(client, session_id, etag, arguments, before))

    def ensure_room(self, record: SessionRecord, contents: Sequence[Content]) -> None:
        """Raises InvalidRequest when `contents` and an answer might not fit. To be asked before generating.

        Media count as new, though they may be stored already.
        """
        size = record.size_bytes + sum(content.ByteSize() for content in contents) + ANSWER_ROOM_BYTES
        if size > self._max_bytes:
            raise too_large(size, self._max_bytes)

    async def delete(self, session_id: str, etag: str | None = None) -> None:
        """Forgets a session. Raises NotFound, or SessionConflict when it no longer has `etag`."""
        _checked(session_id)
        await self._redis.run(lambda client: self._delete(client, session_id, etag or ""))

    async def list(self, page_size: int, page_token: str = "") -> tuple[list[SessionRecord], str]:
        """A page of sessions, newest first, and the token of the next page, "" on the last.

        Pages may be shorter than asked. Sessions made meanwhile are on none of the later pages, and none comes
        twice. Raises InvalidRequest for a bad page_size (1 to 1000) or token.
        """
        if not 1 <= page_size <= MAX_PAGE_SIZE:
            raise InvalidRequest.of("page_size", f"must be 1 to {MAX_PAGE_SIZE}")
        last = index.parse_page_token(page_token)
        records, rest = await self._redis.run(lambda client: read_page(client, page_size, last))
        return records, index.page_token(rest) if rest else ""

    async def _create(self, client: Redis, session_id: str, arguments: Sequence[Any]) -> SessionRecord:
        record = record_of(session_id, await _eval(client, scripts.CREATE, session_id, arguments))
        await index.add(client, member_of(record))
        await prune(client)
        return record

    async def _get(self, client: Redis, session_id: str, with_contents: bool, touch: bool) -> SessionRecord:
        arguments = [scripts.SCHEMA, "1" if touch else "0"]
        if not with_contents:
            return record_of(session_id, await _eval(client, scripts.READ, session_id, arguments))
        keys = scripts.session_keys(session_id)
        # Large replies come as plain reads of the same transaction: through Lua they would be copied twice.
        async with client.pipeline(transaction=True) as pipe:
            pipe.eval(scripts.READ, len(keys), *keys, *arguments)
            pipe.lrange(keys[1], 0, -1)
            # Not pipe.hgetall(): in a cluster redis-py hands that one's options to the reader of the reply.
            pipe.execute_command("HGETALL", keys[2])
            reply, contents, media = await pipe.execute()
        record = record_of(session_id, reply)
        if len(contents) != record.content_count:
            raise lost(session_id)
        try:
            return record.with_contents(unpack(contents, media))
        except MediaLost as error:
            raise lost(session_id) from error

    async def _append(
        self, client: Redis, session_id: str, etag: str, arguments: Sequence[Any], before: SessionRecord | None
    ) -> SessionRecord:
        # Redis may have gone away between the session's creation and its entry in the index, which the first turn makes
        # up for. An entry too many does no harm: those whose session is gone are removed as they are met.
        if before is not None and not before.turns:
            reply = await _eval_and_list(client, session_id, arguments, member_of(before))
            return record_of(session_id, reply, etag)
        record = record_of(session_id, await _eval(client, scripts.APPEND_TURN, session_id, arguments), etag)
        if record.turns == 1 and before is None:
            await index.add(client, member_of(record))
        return record

    async def _delete(self, client: Redis, session_id: str, etag: str) -> None:
        reply = await _eval(client, scripts.DELETE, session_id, [etag])
        created_us = int(fields_of(session_id, reply, etag)[b"created_us"])
        await index.remove(client, [Member(created_us, session_id)])

    def _ttl_ms(self, ttl_s: float | None) -> int:
        longest = self._config.ttl_s
        if ttl_s is None:
            return longest * 1000
        if not 1 <= ttl_s <= longest:  # also false for NaN
            raise InvalidRequest.of("ttl", f"must be 1 to {longest} seconds, is {ttl_s:g}")
        return round(ttl_s * 1000)


def _checked(session_id: str) -> str:
    if not _SESSION_ID.fullmatch(session_id):
        raise InvalidRequest.of("session_id", "must be 1 to 128 letters, digits, '-', '_', '.' or ':'")
    return session_id


def _packed_system(instruction: Content | None) -> bytes:
    """Empty for none; else marked by a first byte, so that an empty instruction stays one."""
    if instruction is None:
        return b""
    if has_media([instruction]):
        raise InvalidRequest.of("system_instruction", "may hold text only")
    return b"=" + bytes(instruction.SerializeToString())


def _flat(packed: PackedContents) -> list[Any]:
    """The tail of append_turn.lua's arguments."""
    media = [item for pair in packed.media.items() for item in pair]
    return [len(packed.contents), *packed.contents, *media]


async def _eval(client: Redis, script: str, session_id: str, arguments: Sequence[Any]) -> list[Any]:
    keys = scripts.session_keys(session_id)
    reply: list[Any] = await client.eval(script, len(keys), *keys, *arguments)
    return reply


async def _eval_and_list(client: Redis, session_id: str, arguments: Sequence[Any], member: Member) -> list[Any]:
    """Appends the turn and adds the member in one round trip, though in a cluster they may be on two nodes."""
    keys = scripts.session_keys(session_id)
    async with client.pipeline(transaction=False) as pipe:
        pipe.eval(scripts.APPEND_TURN, len(keys), *keys, *arguments)
        pipe.zadd(index.KEY, {member.encode(): 0})
        # Raised by the pipeline, an error would begin with the command, and hold the turn.
        replies: list[Any] = await pipe.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return list(replies[0])
