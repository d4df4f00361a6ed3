"""What one answer's owner has still to write: the owner puts it here, the keeper takes it and writes it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from google.rpc import status_pb2

from cluster.answers.record import AnswerKey, Batch, KeptAnswer
from cluster.errors import Unavailable
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk

_UNKEPT = "the answer could not be kept in Redis, so its turn was not stored"


class AnswerLog:
    """Putting something in never waits. `on_written` is called when something was written, or never will be.

    A log breaks when Redis is away for too long: then nothing more is written, and the owner goes on without. It is
    lost when another gateway has taken the answer over, as this one gave no sign of life: then the owner must stop.
    """

    def __init__(
        self, key: AnswerKey, owner: str, max_bytes: int, wake: Callable[[], None], begun: KeptAnswer | None = None
    ) -> None:
        """`wake` calls the keeper; `begun` is what an earlier owner has written."""
        self.key, self.begun = key, begun
        self.is_broken = self.is_lost = self.is_closed = False
        self.is_settled = begun is not None and begun.settled is not None
        self.on_written: Callable[[], None] = lambda: None
        self._owner, self._max_bytes, self._wake = owner, max_bytes, wake
        self._chunks: list[tuple[int, bytes]] = []
        self._fields: dict[str, bytes | str] = {}
        self._state = "open"
        self._settling = asyncio.Event()
        self._first_index = self._next_index = begun.first_index if begun else 0
        # Of each chunk that Redis has or will have: the index behind its last message, and its bytes.
        self._sizes: deque[tuple[int, int]] = deque()
        self._num_bytes = 0
        for chunk in begun.chunks if begun else ():
            self._count(chunk, chunk.ByteSize())
        self.num_kept = self._next_index

    @property
    def has_news(self) -> bool:
        """Whether there is something to write."""
        return bool(self._chunks or self._fields or self._state != "open")

    def plan(self, variant: str, etag: str) -> None:
        """How the answer is made: what whoever goes on with it must know. Written with the first chunk."""
        self._fields |= {"variant": variant, "etag": etag}

    def put(self, chunk: ReplicaChunk) -> None:
        """The next chunk, its messages as the caller gets them."""
        payload = chunk.SerializeToString()
        self._count(chunk, len(payload))
        self._chunks.append((self._next_index, payload))
        self._wake()

    async def settle(self, chunk: ReplicaChunk) -> None:
        """Keeps the last chunk apart from the others, as the session has not got its turn yet. Returns once it is kept.

        Raises Unavailable when it cannot be kept.
        """
        self._fields["settled"] = chunk.SerializeToString()
        self._wake()
        await self._settling.wait()
        if not self.is_settled:
            raise Unavailable(_UNKEPT)

    def end(self, failure: status_pb2.Status | None = None) -> None:
        """Nothing comes any more."""
        self._state = "ended"
        if failure is not None:
            self._state, self._fields["status"] = "failed", failure.SerializeToString()
        self._wake()

    def release(self) -> None:
        """Whoever asks for the rest may go on with it."""
        self._state = "released"
        self._wake()

    def batch(self) -> Batch:
        """All that is to be written; stays here until it is."""
        chunks, fields = tuple(self._chunks), dict(self._fields)
        return Batch(self.key, self._owner, chunks, fields, self._first_index, self._state)

    def written(self, batch: Batch, reply: bytes) -> None:
        """What Redis said to the batch."""
        if reply != b"OK":
            self.is_lost, self.is_broken = reply == b"LOST", True
            return self.close()
        del self._chunks[: len(batch.chunks)]
        self._fields = {name: value for name, value in self._fields.items() if name not in batch.fields}
        self.num_kept = batch.chunks[-1][0] if batch.chunks else self.num_kept
        self.is_settled |= "settled" in batch.fields
        if self.is_settled:
            self._settling.set()
        if batch.state != "open":
            return self.close()
        return self.on_written()

    def give_up(self) -> None:
        """Redis is away for too long."""
        self.is_broken = True
        self.close()

    def close(self) -> None:
        """Nothing is written any more."""
        self.is_closed = True
        self._settling.set()
        self.on_written()

    def _count(self, chunk: ReplicaChunk, num_bytes: int) -> None:
        self._next_index += len(chunk.responses)
        self._sizes.append((self._next_index, num_bytes))
        self._num_bytes += num_bytes
        while self._num_bytes > self._max_bytes and len(self._sizes) > 1:
            self._first_index, freed = self._sizes.popleft()
            self._num_bytes -= freed
