"""Answers with a request_id: made once, whoever asks and however often, here or at another gateway."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from cluster import metrics
from cluster.answers.keeper import Keeper
from cluster.answers.log import AnswerLog
from cluster.answers.record import AnswerKey, Claim, KeptAnswer
from cluster.answers.store import AnswerStore
from cluster.config import AnswersConfig
from cluster.errors import ClusterError, NotResumable, Unavailable, error_from_status
from cluster.gateway.live_answer import LiveAnswer, check_index
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk
from protos.gemmacluster.v1.generation_pb2 import GenerateRequest

Messages = AsyncGenerator[bytes, None]
Make = Callable[[GenerateRequest, int, AnswerLog], AsyncGenerator[ReplicaChunk, None]]
"""Makes the answer to a request, with at most so many tokens in a message, or goes on with the one in the log."""
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.2


class KeptAnswers:
    """The answers that are made here now, and the way to all others."""

    def __init__(self, store: AnswerStore, config: AnswersConfig, patience_s: float) -> None:
        """After `patience_s` without Redis, running answers are no longer kept."""
        self._store, self._config = store, config
        self._keeper = Keeper(store, config, patience_s)
        self._live: dict[AnswerKey, LiveAnswer] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def num_live(self) -> int:
        """Answers that are made here now, with or without listeners."""
        return len(self._live)

    def start(self) -> asyncio.Task[None]:
        """The task that writes; it ends with `close` alone."""
        self._writing = asyncio.create_task(self._keeper.run())
        return self._writing

    async def close(self) -> None:
        """Stops the answers that run here; other gateways go on with them when asked."""
        for live in self._live.values():
            live.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writing.cancel()
        await asyncio.gather(self._writing, return_exceptions=True)
        await self._keeper.flush()
        await self._store.close()

    async def answer(
        self, key: AnswerKey, request: GenerateRequest, max_tokens_per_message: int, make: Make
    ) -> Messages:
        """The whole answer to the request, made now unless it was made, or is being made, before.

        Raises AlreadyExists when its id belongs to another request, and Unavailable when Redis is away.
        """
        owner = uuid.uuid4().hex
        if await self._store.claim(key, Claim(request, max_tokens_per_message), owner):
            log = self._keeper.open(key, owner)
            self._begin(log, request.resumable, make(request, max_tokens_per_message, log))
        async with aclosing(self._follow(key, 0, make)) as messages:
            async for message in messages:
                yield message

    async def resume(self, key: AnswerKey, index: int, make: Make) -> Messages:
        """The messages of a resumable answer from `index` on.

        Raises NotFound, NotResumable, OutOfRange for an index that the answer does not have, Unavailable when Redis is
        away or nobody can go on, and whatever the answer ended with.
        """
        await self._check_resumable(key, index)
        async with aclosing(self._follow(key, index, make)) as messages:
            async for message in messages:
                yield message

    async def _check_resumable(self, key: AnswerKey, index: int) -> None:
        source, live = "live", self._live.get(key)
        is_resumable = live is not None and live.is_resumable
        if live is None:
            reading = await self._store.read(key, index)
            is_resumable, source = reading.is_resumable, "orphan" if reading.is_orphan else "kept"
        if not is_resumable:
            message = f"request {key.request_id} was not resumable; send it again for its answer from the start"
            raise NotResumable(key.request_id, message)
        metrics.RESUMES.record(1, source)

    async def _follow(self, key: AnswerKey, index: int, make: Make) -> Messages:
        """From here if it is made here, else from Redis, until it has ended or its owner is gone: then it is ours."""
        pause = _SHORTEST_PAUSE_S
        while True:
            if (live := self._live.get(key)) is not None:
                async with aclosing(live.listen(index)) as messages:
                    async for message in messages:
                        yield message
                return
            reading = await self._store.read(key, index)
            check_index(index, reading.first_index, reading.next_index)
            for message in reading.messages:
                yield message
            index += len(reading.messages)
            is_whole = index == reading.next_index
            if reading.failure is not None and is_whole:
                raise error_from_status(reading.failure) or ClusterError(reading.failure.message)
            if reading.is_finished and is_whole:
                return
            if reading.is_orphan and is_whole:
                await self._take_over(key, make)
            elif is_whole:
                pause = _SHORTEST_PAUSE_S if reading.messages else min(2 * pause, _LONGEST_PAUSE_S)
                await asyncio.sleep(pause)

    async def _take_over(self, key: AnswerKey, make: Make) -> None:
        owner = uuid.uuid4().hex
        kept = await self._store.take_over(key, owner)
        if kept is not None:
            log = self._keeper.open(key, owner, kept)
            self._begin(log, kept.is_resumable, _continued(kept, make, log))

    def _begin(self, log: AnswerLog, is_resumable: bool, chunks: AsyncGenerator[ReplicaChunk, None]) -> None:
        live = LiveAnswer(log, is_resumable=is_resumable, grace_s=self._config.grace_s if is_resumable else 0)
        self._live[log.key] = live
        task = live.start(chunks)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(log.key, live, task))

    def _ended(self, key: AnswerKey, live: LiveAnswer, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._live.get(key) is live:
            del self._live[key]


async def _continued(kept: KeptAnswer, make: Make, log: AnswerLog) -> AsyncGenerator[ReplicaChunk, None]:
    """The rest of an answer whose gateway is gone, by the same variant, from the same state of the session."""
    if kept.request is None:
        raise _lost(kept, "its request was too large to be kept (answers.max_answer_mb)")
    if kept.first_index and kept.settled is None:
        raise _lost(kept, "its beginning was too large to be kept (answers.max_answer_mb)")
    request = GenerateRequest()
    request.CopyFrom(kept.request)
    if kept.variant:
        request.model, request.session_etag = kept.variant, kept.etag
        request.ClearField("routing")
    async with aclosing(make(request, kept.max_tokens_per_message, log)) as chunks:
        async for chunk in chunks:
            yield chunk


def _lost(kept: KeptAnswer, why: str) -> Unavailable:
    have = f"messages {kept.first_index} to {kept.next_index - 1} are" if kept.chunks else "none of its messages is"
    return Unavailable(f"the gateway that made the answer is gone, and {why}; {have} kept; send the request again")
