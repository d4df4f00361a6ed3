"""Answers as Redis keeps them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.rpc import status_pb2

from cluster.errors import InvalidRequest
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk
from protos.gemmacluster.v1.generation_pb2 import GenerateRequest

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True)
class AnswerKey:
    """Whose answer, and to which request: an API caller meets none but its own."""

    caller: str
    request_id: str

    @classmethod
    def of(cls, caller: str, request_id: str) -> AnswerKey:
        """Raises InvalidRequest for what cannot be a request's id."""
        if not _REQUEST_ID.fullmatch(request_id):
            raise InvalidRequest.of("request_id", "must be 1 to 128 letters, digits, '-', '_', '.' or ':'")
        return cls(caller, request_id)

    @property
    def keys(self) -> list[str]:
        """Meta, chunks and lease; the braces put them in one slot of Redis Cluster."""
        scope = hashlib.sha256(self.caller.encode()).hexdigest()[:16] if self.caller else ""
        return [f"gemma-cluster:{{answer:{scope}:{self.request_id}}}:{part}" for part in ("meta", "chunks", "lease")]


@dataclass(frozen=True)
class Claim:
    """A request as its first caller sent it. `max_tokens_per_message` is 0 for no limit."""

    request: GenerateRequest
    max_tokens_per_message: int

    def digest(self) -> bytes:
        """Equal for equal requests."""
        return hashlib.sha256(self.request.SerializeToString(deterministic=True)).digest()


@dataclass(frozen=True)
class KeptAnswer:
    """What there is of an unfinished answer.

    `request` is None where it was too large to keep. `variant` is "" until one was chosen; `etag` is the session's,
    "" without one. `settled` is the last chunk of an answer that only its session has not got yet.
    """

    request: GenerateRequest | None
    max_tokens_per_message: int
    is_resumable: bool
    variant: str
    etag: str
    first_index: int
    chunks: tuple[ReplicaChunk, ...]
    settled: ReplicaChunk | None

    @property
    def next_index(self) -> int:
        """How many messages it has so far, those no longer kept included."""
        return self.first_index + sum(len(chunk.responses) for chunk in self.chunks)


@dataclass(frozen=True)
class Reading:
    """A look at an answer. `messages` go on from the index asked for; those before `first_index` are kept no more.

    `failure` is set when it ended with an error. `is_orphan` means that it is unfinished, and nobody is at it.
    """

    is_resumable: bool
    first_index: int
    next_index: int
    messages: Sequence[bytes]
    is_finished: bool
    is_orphan: bool
    failure: status_pb2.Status | None


@dataclass(frozen=True)
class Batch:
    """What an owner writes at once: chunks, each with the index behind its last message, and fields of the answer."""

    key: AnswerKey
    owner: str
    chunks: Sequence[tuple[int, bytes]] = ()
    fields: Mapping[str, bytes | str] = field(default_factory=dict)
    first_index: int = 0
    state: str = "open"

    def arguments(self, lease_ms: int, keep_ms: int) -> list[bytes | str | int]:
        """Those of write.lua."""
        fields = [item for pair in self.fields.items() for item in pair]
        chunks = [item for pair in self.chunks for item in pair]
        return [self.owner, lease_ms, keep_ms, self.state, self.first_index, len(self.fields), *fields, *chunks]
