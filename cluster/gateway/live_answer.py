"""An answer that is being made here: a task of its own, whoever listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from cluster.answers.log import AnswerLog
from cluster.errors import ClusterError, OutOfRange, Overloaded, Unavailable, error_from_status
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk

logger = logging.getLogger("ray.serve.gemma_cluster.gateway")
_STOPPED = "the answer was stopped because its gateway shuts down; ask for it again, and it goes on"
_TAKEN = "another gateway has taken this answer over; ask for it again, and its rest comes from there"


class LiveAnswer:
    """Listeners get each message at once; those of a resumable answer once it is kept, so that any gateway can go on
    behind whatever a client has seen."""

    def __init__(self, log: AnswerLog, *, is_resumable: bool, grace_s: float) -> None:
        """After `grace_s` without a listener the answer is stopped."""
        self.is_resumable = is_resumable
        self._log, self._grace_s = log, grace_s
        begun = log.begun
        self._first_index = begun.first_index if begun else 0
        self._messages = [item for chunk in begun.chunks for item in chunk.responses] if begun else []
        self._num_listeners = 0
        self._is_over = False
        self._failure: ClusterError | None = None
        self._news = asyncio.Event()
        self._stop_timer: asyncio.TimerHandle | None = None

    def start(self, chunks: AsyncGenerator[ReplicaChunk, None]) -> asyncio.Task[None]:
        """Begins; the task ends when the answer does. Whoever starts it must listen at once: nobody else stops it."""
        self._log.on_written = self._on_written
        self._task = asyncio.create_task(self._run(chunks))
        # One that is cancelled before its first step never ran.
        self._task.add_done_callback(lambda task: self._release(Unavailable(_STOPPED)))
        return self._task

    async def listen(self, index: int) -> AsyncGenerator[bytes, None]:
        """The messages from `index` on. Raises OutOfRange for an index that is none, and what the answer ended with."""
        check_index(index, self._first_index, self._num_ready)
        self._join()
        try:
            while True:
                news = self._news
                while index < self._num_ready:
                    yield self._messages[index - self._first_index]
                    index += 1
                if self._is_over and (self._log.is_lost or index == self._num_made):
                    break
                await news.wait()
        finally:
            self._leave()
        if self._failure is not None:
            # One for each listener: they would share its traceback.
            raise error_from_status(self._failure.to_status()) or self._failure

    def stop(self) -> None:
        """Frees the engine's slot; the rest can be asked for again."""
        if not self._is_over:
            self._task.cancel()

    @property
    def _num_made(self) -> int:
        return self._first_index + len(self._messages)

    @property
    def _num_ready(self) -> int:
        """Behind the last message that listeners may have."""
        log = self._log
        is_direct = not self.is_resumable or (log.is_broken and not log.is_lost)
        return self._num_made if is_direct else min(log.num_kept, self._num_made)

    async def _run(self, chunks: AsyncGenerator[ReplicaChunk, None]) -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    self._take(chunk)
        except asyncio.CancelledError:
            self._release(Unavailable(_TAKEN if self._log.is_lost else _STOPPED))
        except (Overloaded, Unavailable) as error:
            # The turn may be stored or not: the next attempt to store it finds out.
            (self._release if self._log.is_settled else self._fail)(error)
        except ClusterError as error:
            self._fail(error)
        except Exception:
            logger.exception("unexpected error")
            self._fail(ClusterError("internal error; the gateway's log has the details"))
        finally:
            if self._stop_timer is not None:
                self._stop_timer.cancel()

    def _take(self, chunk: ReplicaChunk) -> None:
        self._messages += chunk.responses
        self._log.put(chunk)
        if chunk.HasField("result"):
            self._is_over = True
            self._log.end()
        self._tell()

    def _fail(self, error: ClusterError) -> None:
        if not self._is_over:
            self._is_over, self._failure = True, error
            self._log.end(error.to_status())
            self._tell()

    def _release(self, error: ClusterError) -> None:
        if not self._is_over:
            self._is_over, self._failure = True, error
            self._log.release()
            self._tell()

    def _on_written(self) -> None:
        if self._log.is_lost:
            self.stop()
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _join(self) -> None:
        self._num_listeners += 1
        if self._stop_timer is not None:
            self._stop_timer.cancel()

    def _leave(self) -> None:
        self._num_listeners -= 1
        if self._num_listeners or self._is_over:
            return
        if self._grace_s:
            self._stop_timer = asyncio.get_running_loop().call_later(self._grace_s, self.stop)
        else:
            self.stop()


def check_index(index: int, first: int, end: int) -> None:
    """Raises OutOfRange when an answer of which the messages from `first` to before `end` are there cannot go on at
    `index`."""
    if index > end:
        raise OutOfRange("after_chunk_index", f"is {index - 1}, and the answer has {end} messages so far, from 0 on")
    if index < first:
        rule = f"must be at least {first - 1}: answers.max_answer_mb had no room for the messages before {first}"
        raise OutOfRange("after_chunk_index", rule)
