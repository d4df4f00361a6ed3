"""Answers in Redis: a hash, a stream of chunks and a lease each. Every change is one atomic script.

A stream's entry ids are chunk indices: an entry's is the index behind its last message, so that an answer can be read
from any message on, and no message is ever there twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from google.rpc import status_pb2
from redis.asyncio import Redis

from cluster.answers.record import AnswerKey, Batch, Claim, KeptAnswer, Reading
from cluster.config import AnswersConfig
from cluster.errors import AlreadyExists, NotFound, Unavailable
from cluster.sessions.connection import RedisConnection
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk
from protos.gemmacluster.v1.generation_pb2 import GenerateRequest

SCHEMA = "1"
"""Version of the stored form."""
_AWAY = "Redis does not answer, so no answer can be kept or read; requests without a request_id or session go on"
_MIB = 1024 * 1024
# Chunks read at once: an answer that is read from its start does not come in one piece.
_PAGE = 512


def _script(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


_CLAIM, _WRITE, _TAKE_OVER = _script("claim.lua"), _script("write.lua"), _script("take_over.lua")


class AnswerStore:
    """Every method raises Unavailable within `timeout_s` when Redis does not answer, Overloaded when it is full."""

    def __init__(self, redis_url: str, config: AnswersConfig, timeout_s: float) -> None:
        """Connects on first use."""
        self._redis = RedisConnection(redis_url, timeout_s, away=_AWAY)
        self._lease_ms = round(config.lease_s * 1000)
        self._keep_ms = config.keep_s * 1000
        self._max_bytes = config.max_answer_mb * _MIB

    async def close(self) -> None:
        """Closes all connections."""
        await self._redis.close()

    async def claim(self, key: AnswerKey, claim: Claim, owner: str) -> bool:
        """True when the answer is now `owner`'s to make; False when there is one already, whole or not.

        Raises AlreadyExists when the id belongs to another request.
        """
        request = claim.request
        fields: list[Any] = ["limit", claim.max_tokens_per_message, "resumable", int(request.resumable)]
        if request.ByteSize() <= self._max_bytes:
            fields += ["request", request.SerializeToString()]
        # Hashing what holds a film would keep every running stream waiting.
        digest = await asyncio.to_thread(claim.digest) if request.ByteSize() > _MIB else claim.digest()
        arguments = [SCHEMA, digest, owner, self._lease_ms, self._keep_ms, *fields]
        reply = await self._redis.run(lambda client: client.eval(_CLAIM, 3, *key.keys, *arguments))
        if reply == b"OTHER":
            message = f"request_id {key.request_id} belongs to another request; send a new one, or that request"
            raise AlreadyExists(message, resource_type="Answer", resource_name=key.request_id)
        if reply == b"VERSION":
            raise _other_release(key)
        return bool(reply == b"OWNED")

    async def write(self, batches: Sequence[Batch]) -> list[bytes]:
        """Writes them in one round trip; each is b"OK", b"GONE" or b"LOST" (see write.lua). May be done again."""
        return await self._redis.run(lambda client: self._write(client, batches))

    async def read(self, key: AnswerKey, index: int) -> Reading:
        """The answer, with some of its messages from `index` on. Raises NotFound when there is none."""
        return await self._redis.run(lambda client: self._read(client, key, index))

    async def take_over(self, key: AnswerKey, owner: str) -> KeptAnswer | None:
        """All that is kept of an orphan, which is now `owner`'s; None when it is one no more."""
        return await self._redis.run(lambda client: self._take_over(client, key, owner))

    async def _write(self, client: Redis, batches: Sequence[Batch]) -> list[bytes]:
        async with client.pipeline(transaction=False) as pipe:
            for batch in batches:
                pipe.eval(_WRITE, 3, *batch.key.keys, *batch.arguments(self._lease_ms, self._keep_ms))
            return list(await pipe.execute())

    async def _read(self, client: Redis, key: AnswerKey, index: int) -> Reading:
        meta, chunks, lease = key.keys
        async with client.pipeline(transaction=True) as pipe:
            pipe.hmget(meta, "v", "state", "first", "next", "resumable", "status")
            pipe.exists(lease)
            pipe.xrange(chunks, f"{index + 1}-0", "+", count=_PAGE)
            (version, state, first, last, resumable, status), has_owner, entries = await pipe.execute()
        _check(key, version)
        return Reading(
            is_resumable=resumable == b"1",
            first_index=int(first),
            next_index=int(last),
            messages=_messages(entries, index),
            is_finished=state == b"ended",
            is_orphan=state == b"open" and not has_owner,
            failure=status_pb2.Status.FromString(status) if state == b"failed" else None,
        )

    async def _take_over(self, client: Redis, key: AnswerKey, owner: str) -> KeptAnswer | None:
        meta, chunks, _ = key.keys
        async with client.pipeline(transaction=True) as pipe:
            pipe.eval(_TAKE_OVER, 3, *key.keys, owner, self._lease_ms)
            pipe.execute_command("HGETALL", meta)  # not pipe.hgetall(), see SessionStore
            pipe.xrange(chunks)
            reply, fields, entries = await pipe.execute()
        if reply != b"OWNED":
            return None
        _check(key, fields[b"v"])
        return _kept(fields, entries)


def _kept(fields: dict[bytes, bytes], entries: Sequence[Any]) -> KeptAnswer:
    request, settled = fields.get(b"request"), fields.get(b"settled")
    return KeptAnswer(
        request=None if request is None else GenerateRequest.FromString(request),
        max_tokens_per_message=int(fields[b"limit"]),
        is_resumable=fields[b"resumable"] == b"1",
        variant=fields.get(b"variant", b"").decode(),
        etag=fields.get(b"etag", b"").decode(),
        first_index=int(fields[b"first"]),
        chunks=tuple(ReplicaChunk.FromString(entry[b"c"]) for _, entry in entries),
        settled=None if settled is None else ReplicaChunk.FromString(settled),
    )


def _messages(entries: Sequence[Any], index: int) -> list[bytes]:
    """The messages from `index` on; the first entry may begin before it."""
    found: list[bytes] = []
    for entry_id, entry in entries:
        responses = ReplicaChunk.FromString(entry[b"c"]).responses
        start = int(entry_id.partition(b"-")[0]) - len(responses)
        found += responses[max(0, index - start) :]
    return found


def _check(key: AnswerKey, version: bytes | None) -> None:
    if version is None:
        message = f"no answer to request {key.request_id} is kept: it never was, or its time is over"
        raise NotFound(message, resource_type="Answer", resource_name=key.request_id)
    if version.decode() != SCHEMA:
        raise _other_release(key)


def _other_release(key: AnswerKey) -> Unavailable:
    # While a fleet is upgraded, another gateway can read it.
    return Unavailable(f"the answer to request {key.request_id} was kept by another release")
