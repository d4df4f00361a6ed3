"""An answer outlives its replica: another one goes on behind the last token that reached the gateway.

The gateway keeps what it has of each running answer: the tokens, and the messages that it passed on. The next replica
gets the prompt and those tokens, which it takes as tokens of the answer: it computes them in one go, counts them, reads
them, and sends what comes after. A message and the tokens behind it arrive together or not at all, so that no token is
lost and none comes twice; text that was held back, as half of a stop string, is held back there as it was here.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from cluster.errors import NotSupported, Overloaded, ReplicaLeaves, ReplicaLost, Unavailable
from cluster.variants.parts import joined_parts
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk, ReplicaProgress, ReplicaRequest
from protos.gemmacluster.v1.generation_pb2 import StreamGenerateResponse

logger = logging.getLogger("ray.serve.gemma_cluster.migration")
# Whatever killed as many replicas may be the request itself. Those that leave of themselves do not count.
MAX_LOSSES = 3
# For a place on another replica, for one that is only starting, and for the prompt to be computed.
PATIENCE_S = 60.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0

Chunks = AsyncGenerator[ReplicaChunk, None]
Attempt = Callable[[ReplicaRequest], Chunks]


async def migrating(attempt: Attempt, request: ReplicaRequest, begun: Iterable[ReplicaChunk] = ()) -> Chunks:
    """The chunks of a whole answer, whichever replicas they come from. `attempt` asks one of them.

    `begun` is what an answer has already, whose gateway was lost; what is behind it comes.
    Raises the replica's own error, and Unavailable for an answer that nobody can go on with.
    """
    answer = PartialAnswer(request, begun)
    while not answer.is_finished:
        chunks = _patiently(attempt, answer.rest()) if answer.num_migrations else attempt(request)
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield answer.taken(chunk)
            if not answer.is_finished:
                raise ReplicaLost("the replica ended its answer early")
        except ReplicaLost as loss:
            answer.lose(loss)


class PartialAnswer:
    """What has arrived of an answer."""

    def __init__(self, request: ReplicaRequest, begun: Iterable[ReplicaChunk] = ()) -> None:
        self._request = request
        self._token_ids = array("i")
        self._responses: list[bytes] = []
        self._cached_tokens: int | None = None
        self._num_losses = 0
        self.num_migrations = 0
        self.is_finished = False
        for chunk in begun:
            self.taken(chunk)
            # With its gateway, an answer has lost its replica.
            self.num_migrations = 1

    def taken(self, chunk: ReplicaChunk) -> ReplicaChunk:
        """The chunk, noted; its result, if it has one, is that of the whole answer."""
        self._token_ids.extend(chunk.token_ids)
        self._responses += chunk.responses
        if self._cached_tokens is None:
            self._cached_tokens = chunk.cached_tokens
        self.is_finished = chunk.HasField("result")
        if self.is_finished and self.num_migrations:
            self._complete(chunk)
        return chunk

    def rest(self) -> ReplicaRequest:
        """The request for what is missing."""
        calls = sum(part.HasField("function_call") for part in self._sent().content.parts)
        progress = ReplicaProgress(
            token_ids=self._token_ids, next_chunk_index=len(self._responses), function_calls=calls
        )
        request = ReplicaRequest(progress=progress)
        request.MergeFrom(self._request)
        return request

    def lose(self, loss: ReplicaLost) -> None:
        """Counts a lost replica. Raises Unavailable if there were too many; does nothing once all is here."""
        if self.is_finished:
            return
        if self._num_losses == MAX_LOSSES:
            raise Unavailable(f"{loss}, after {MAX_LOSSES} others; nothing was stored") from loss
        self._num_losses += not isinstance(loss, ReplicaLeaves)
        self.num_migrations += 1
        logger.warning(
            "request %s goes on on another replica after %d tokens: %s",
            self._request.request_id,
            len(self._token_ids),
            loss,
        )

    def _complete(self, last: ReplicaChunk) -> None:
        """The last replica has told of its own part."""
        del last.result.content.parts[:]
        last.result.content.parts.extend(joined_parts(self._sent().content.parts))
        last.result.cached_tokens = self._cached_tokens or 0
        last.result.migrations = self.num_migrations

    def _sent(self) -> StreamGenerateResponse:
        """All messages so far as one: laid end to end they parse as their merge."""
        return StreamGenerateResponse.FromString(b"".join(self._responses))


async def _patiently(attempt: Attempt, rest: ReplicaRequest) -> Chunks:
    """The rest of an answer. Asks again while replicas are full or away, until one sends something in time."""
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + PATIENCE_S, _SHORTEST_PAUSE_S
    while True:
        async with aclosing(attempt(rest)) as chunks:
            first = await _first(chunks, deadline)
            if first is not None:
                yield first
                async for chunk in chunks:
                    yield chunk
                return
        await asyncio.sleep(min(pause, max(0.0, deadline - loop.time())))
        pause = min(2 * pause, _LONGEST_PAUSE_S)


async def _first(chunks: Chunks, deadline: float) -> ReplicaChunk | None:
    """None if the replica cannot take the request now. Raises Unavailable once the deadline has passed."""
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(chunks)
    except StopAsyncIteration:
        raise ReplicaLost("the replica ended its answer early") from None
    except TimeoutError:
        why = f"the replica that answered was lost, and none went on within {PATIENCE_S:g} s; nothing was stored"
        raise Unavailable(why) from None
    except NotSupported as error:
        raise Unavailable(f"the replica that answered was lost; {error}; nothing was stored") from error
    except ReplicaLost:
        raise
    except (Overloaded, Unavailable):
        return None
