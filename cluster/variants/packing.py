"""Packs an engine's outputs into as few messages as can be, holding none back for longer than anybody notices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator

from cluster.engines.base import EngineOutput
from cluster.variants.parts import PartWriter
from model.answer import Piece
from model.runtime.output import TokenLogprob, TokenLogprobs
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk, ReplicaProgress, ReplicaResult
from protos.gemmacluster.v1 import generation_pb2
from protos.gemmacluster.v1.generation_pb2 import FinishReason, StreamGenerateResponse

_FINISH_REASONS = {
    "stop": FinishReason.FINISH_REASON_STOP,
    "length": FinishReason.FINISH_REASON_MAX_TOKENS,
}


class Pacer:
    """Bounds the messages a replica sends: each stream may send again after `SECONDS_PER_STREAM` for each other stream,
    and after `SHORTEST_S` at least.

    A token that comes later than that after the last message is sent at once: so are all tokens of a model that takes
    milliseconds for each, while there are few streams. What comes in a burst waits for company, with 16 streams at most
    4 ms: no reader notices, and the cost of a message does not bound tokens per second.
    """

    SECONDS_PER_STREAM = 0.00025
    SHORTEST_S = 0.002

    def __init__(self) -> None:
        self.streams = 0

    @property
    def interval_s(self) -> float:
        """Seconds between two messages of a stream."""
        return max(self.SHORTEST_S, self.SECONDS_PER_STREAM * (self.streams - 1))


class _Buffer:
    """Outputs that wait to be sent. Wakes the sender for the first, for the last, and when its interval is over."""

    def __init__(self) -> None:
        self._outputs: list[EngineOutput] = []
        self._wake = asyncio.Event()
        self._is_pausing = False
        self._is_closed = False

    def put(self, output: EngineOutput) -> None:
        self._outputs.append(output)
        if not self._is_pausing:
            self._wake.set()

    def close(self) -> None:
        """No more outputs come."""
        self._is_closed = True
        self._wake.set()

    def pause(self, seconds: float) -> None:
        """The sender is not woken by outputs for this long."""
        self._is_pausing = True
        asyncio.get_running_loop().call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._is_pausing = False
        if self._outputs:
            self._wake.set()

    async def take(self) -> list[EngineOutput]:
        """All that is ready, at least one; empty once closed and drained."""
        while not self._is_closed and (self._is_pausing or not self._outputs):
            self._wake.clear()
            await self._wake.wait()
        ready, self._outputs = self._outputs, []
        return ready


async def ready_outputs(
    outputs: AsyncGenerator[EngineOutput, None], pacer: Pacer
) -> AsyncGenerator[list[EngineOutput], None]:
    """Yields all outputs that came since the last yield: the first at once, then as the pacer allows.

    Memory is bounded by the answer's length. Closing this closes `outputs`, which frees the engine's slot.
    """
    buffer = _Buffer()
    pump = asyncio.create_task(_pump(outputs, buffer))
    pacer.streams += 1
    try:
        while ready := await buffer.take():
            buffer.pause(pacer.interval_s)
            yield ready
        await pump
    finally:
        pacer.streams -= 1
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)


async def _pump(outputs: AsyncGenerator[EngineOutput, None], buffer: _Buffer) -> None:
    try:
        async for output in outputs:
            buffer.put(output)
    finally:
        buffer.close()
        await outputs.aclose()


class ChunkPacker:
    """Turns outputs into public messages, numbers them, and sums up the answer at its end."""

    def __init__(self, request_id: str, max_tokens_per_message: int, progress: ReplicaProgress | None = None) -> None:
        """`max_tokens_per_message`: tokens in one public message, 0 for all that are ready. Numbers go on behind the
        `progress` of an answer that another replica began."""
        before = progress or ReplicaProgress()
        self._max_tokens = max_tokens_per_message
        self._started = time.monotonic()
        self._chunk_index = before.next_chunk_index
        self._request_id = request_id
        self._num_calls = before.function_calls
        self._parts = PartWriter(request_id, self._num_calls)
        self._pieces: list[Piece] = []
        self._output_tokens = len(before.token_ids)

    def pack(self, outputs: list[EngineOutput]) -> ReplicaChunk:
        """All of `outputs` as one message to the gateway, with the result when the answer has ended."""
        is_first = self._chunk_index == 0
        chunk = ReplicaChunk(
            responses=[self._response(group) for group in self._groups(outputs)],
            token_ids=[token_id for output in outputs for token_id in output.token_ids],
        )
        if is_first:
            chunk.elapsed_ms = (time.monotonic() - self._started) * 1000
            chunk.cached_tokens = outputs[0].cached_tokens
        last = outputs[-1]
        if last.finish_reason is not None:
            chunk.result.CopyFrom(self._result(last))
        return chunk

    def _groups(self, outputs: list[EngineOutput]) -> Iterator[list[EngineOutput]]:
        group: list[EngineOutput] = []
        tokens = 0
        for output in outputs:
            if group and self._max_tokens and tokens + output.token_count > self._max_tokens:
                yield group
                group, tokens = [], 0
            group.append(output)
            tokens += output.token_count
        yield group

    def _response(self, group: list[EngineOutput]) -> bytes:
        pieces = [piece for output in group for piece in output.pieces]
        self._pieces += pieces
        self._output_tokens += sum(output.token_count for output in group)
        logprobs = [_public_logprobs(item) for output in group for item in output.logprobs]
        response = StreamGenerateResponse(chunk_index=self._chunk_index, logprobs=logprobs)
        if pieces:
            response.content.CopyFrom(self._parts.content(pieces))
        self._chunk_index += 1
        return bytes(response.SerializeToString())

    def _result(self, last: EngineOutput) -> ReplicaResult:
        assert last.finish_reason is not None
        return ReplicaResult(
            content=PartWriter(self._request_id, self._num_calls).content(self._pieces),
            finish_reason=_FINISH_REASONS[last.finish_reason.value],
            output_tokens=self._output_tokens,
            cached_tokens=last.cached_tokens,
            thought_tokens=last.thought_tokens,
            next_chunk_index=self._chunk_index,
        )


def _public_logprobs(logprobs: TokenLogprobs) -> generation_pb2.TokenLogprobs:
    return generation_pb2.TokenLogprobs(
        chosen=_public_logprob(logprobs.chosen), top=[_public_logprob(item) for item in logprobs.top]
    )


def _public_logprob(item: TokenLogprob) -> generation_pb2.TokenLogprob:
    return generation_pb2.TokenLogprob(token_id=item.token_id, token=item.token, logprob=item.logprob)
