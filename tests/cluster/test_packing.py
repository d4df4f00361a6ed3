"""Packing laws: every token once and in order, the first at once, nothing held back, errors after what came before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.codec.structs import plain
from cluster.engines.base import EngineOutput, FinishReason
from cluster.errors import Unavailable
from cluster.variants.packing import ChunkPacker, Pacer, ready_outputs
from model.answer import FunctionCall, Piece, Text, Thought, joined
from model.runtime.output import TokenLogprob, TokenLogprobs
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk
from protos.gemmacluster.v1.content_pb2 import ROLE_MODEL, Content, Part
from protos.gemmacluster.v1.generation_pb2 import (
    FINISH_REASON_MAX_TOKENS,
    FINISH_REASON_STOP,
    StreamGenerateResponse,
)

Batches = AsyncGenerator[list[EngineOutput], None]


def _outputs(*texts: str, reason: FinishReason | None = FinishReason.STOP) -> list[EngineOutput]:
    *head, last = texts
    return [*(_said(text) for text in head), _said(last, 1, reason)]


def _said(text: str, tokens: int = 1, reason: FinishReason | None = None, **others: Any) -> EngineOutput:
    return EngineOutput((Text(text),) if text else (), tokens, reason, **others)


class Source:
    """An engine's stream that a test feeds by hand."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[EngineOutput | Exception | None] = asyncio.Queue()
        self.is_closed = False

    def feed(self, *items: EngineOutput | Exception | None) -> None:
        """More outputs, an error to raise, or None to end."""
        for item in items:
            self._queue.put_nowait(item)

    async def outputs(self) -> AsyncGenerator[EngineOutput, None]:
        """The stream."""
        try:
            while (item := await self._queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.is_closed = True


async def _all(batches: Batches) -> list[list[EngineOutput]]:
    return [batch async for batch in batches]


async def _ready(batches: Batches) -> list[EngineOutput]:
    async with asyncio.timeout(5):
        return await anext(batches)


async def test_every_output_comes_once_and_in_order() -> None:
    source, outputs = Source(), _outputs(*map(str, range(100)))
    source.feed(*outputs, None)
    batches = await _all(ready_outputs(source.outputs(), Pacer()))
    assert [output for batch in batches for output in batch] == outputs
    assert source.is_closed


async def test_an_output_is_sent_at_once_when_the_last_is_a_while_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pacer, "SHORTEST_S", 0.2)
    source = Source()
    batches = ready_outputs(source.outputs(), Pacer())
    for output in _outputs("a", "b", "c"):
        started = time.monotonic()
        source.feed(output)
        assert await _ready(batches) == [output]
        assert time.monotonic() - started < 0.15
        await asyncio.sleep(0.25)
    await batches.aclose()


async def test_a_burst_goes_together_also_when_the_stream_is_alone() -> None:
    source, (first, *rest) = Source(), _outputs("a", "b", "c")
    batches = ready_outputs(source.outputs(), Pacer())
    source.feed(first)
    assert await _ready(batches) == [first]
    for output in rest:
        source.feed(output)
        await asyncio.sleep(0)
    assert await _ready(batches) == rest
    await batches.aclose()


async def test_outputs_that_are_ready_together_go_together() -> None:
    source, outputs = Source(), _outputs("a", "b", "c")
    batches = ready_outputs(source.outputs(), Pacer())
    source.feed(outputs[0])
    assert await _ready(batches) == outputs[:1]
    source.feed(*outputs[1:], None)
    await asyncio.sleep(0.02)
    assert await _ready(batches) == outputs[1:]
    await batches.aclose()


async def test_company_makes_a_stream_wait_for_more_but_not_for_long() -> None:
    source, pacer = Source(), Pacer()
    pacer.streams = 15
    batches = ready_outputs(source.outputs(), pacer)
    first, *rest = _outputs("a", "b", "c")
    source.feed(first)
    assert await _ready(batches) == [first]
    started = time.monotonic()
    source.feed(*rest)
    assert await _ready(batches) == rest
    assert time.monotonic() - started < 1
    await batches.aclose()


async def test_the_end_waits_for_no_interval() -> None:
    source, pacer = Source(), Pacer()
    pacer.streams = 1_000_000
    batches = ready_outputs(source.outputs(), pacer)
    source.feed(_said("a", 1))
    await _ready(batches)
    source.feed(*_outputs("b"), None)
    assert await _ready(batches) == _outputs("b")
    await batches.aclose()


async def test_what_came_before_an_error_is_sent_before_it() -> None:
    source, outputs = Source(), _outputs("a", "b", reason=None)
    batches = ready_outputs(source.outputs(), Pacer())
    source.feed(*outputs, Unavailable("gone"))
    sent: list[EngineOutput] = []

    async def send() -> None:
        async for batch in batches:
            sent.extend(batch)

    with pytest.raises(Unavailable, match="gone"):
        await send()
    assert sent == outputs
    assert source.is_closed


async def test_an_error_before_the_first_output_is_raised() -> None:
    source = Source()
    source.feed(Unavailable("gone"))
    with pytest.raises(Unavailable, match="gone"):
        await _all(ready_outputs(source.outputs(), Pacer()))


@pytest.mark.parametrize("sent", [1, 2])
async def test_closing_closes_the_engines_stream(sent: int) -> None:
    source, pacer = Source(), Pacer()
    batches = ready_outputs(source.outputs(), pacer)
    for _ in range(sent):
        source.feed(_said("a", 1))
        await _ready(batches)
    await batches.aclose()
    assert source.is_closed
    assert pacer.streams == 0


async def test_cancelling_the_reader_closes_the_engines_stream() -> None:
    source, pacer = Source(), Pacer()
    reader = asyncio.create_task(_all(ready_outputs(source.outputs(), pacer)))
    source.feed(_said("a", 1))
    await asyncio.sleep(0.01)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert source.is_closed
    assert pacer.streams == 0


async def test_the_pacer_counts_the_streams_that_run() -> None:
    pacer, sources = Pacer(), [Source(), Source()]
    streams = [ready_outputs(source.outputs(), pacer) for source in sources]
    for source, batches in zip(sources, streams, strict=True):
        source.feed(_said("a", 1))
        await _ready(batches)
    assert pacer.streams == 2
    for batches in streams:
        await batches.aclose()
    assert pacer.streams == 0


def _public(chunk: ReplicaChunk) -> list[StreamGenerateResponse]:
    return [StreamGenerateResponse.FromString(item) for item in chunk.responses]


def _text(responses: list[StreamGenerateResponse]) -> list[str]:
    return ["".join(part.text for part in item.content.parts) for item in responses]


def test_all_that_is_ready_is_one_message() -> None:
    chunk = ChunkPacker("r", 0).pack(_outputs("a", "b", "c", reason=None))
    assert _text(_public(chunk)) == ["abc"]
    assert _public(chunk)[0].content.role == ROLE_MODEL
    assert not chunk.HasField("result")


def test_a_message_has_no_more_tokens_than_asked_for() -> None:
    outputs = [_said("ab", 2), _said("c", 1), _said("d", 1), _said("efg", 3)]
    assert _text(_public(ChunkPacker("r", 2).pack(outputs))) == ["ab", "cd", "efg"]


def test_messages_are_numbered_over_all_chunks() -> None:
    packer = ChunkPacker("r", 1)
    chunks = [packer.pack(_outputs("a", "b", reason=None)), packer.pack(_outputs("c"))]
    assert [item.chunk_index for chunk in chunks for item in _public(chunk)] == [0, 1, 2]
    assert chunks[-1].result.next_chunk_index == 3


@pytest.mark.parametrize(
    ("reason", "public"),
    [(FinishReason.STOP, FINISH_REASON_STOP), (FinishReason.LENGTH, FINISH_REASON_MAX_TOKENS)],
)
def test_the_last_chunk_sums_up_the_answer(reason: FinishReason, public: int) -> None:
    packer = ChunkPacker("r", 0)
    packer.pack([_said("Hello", 2), _said(", ", 1)])
    result = packer.pack([_said("you", 1, reason, cached_tokens=7)]).result
    assert (result.content.parts[0].text, result.output_tokens, result.finish_reason) == ("Hello, you", 4, public)
    assert result.cached_tokens == 7


def test_only_the_first_chunk_tells_how_long_it_took() -> None:
    packer = ChunkPacker("r", 0)
    assert [packer.pack([_said("a", 1)]).elapsed_ms > 0 for _ in range(3)] == [True, False, False]


def test_tokens_without_text_still_make_a_message() -> None:
    chunk = ChunkPacker("r", 0).pack([_said("", 1, FinishReason.STOP)])
    assert len(chunk.responses) == 1
    assert not _public(chunk)[0].HasField("content")
    assert chunk.result.output_tokens == 1


def test_log_probabilities_go_with_their_tokens() -> None:
    entries = [TokenLogprob(token, bytes([token]), -token / 8) for token in range(6)]
    reports = [TokenLogprobs(entries[i], (entries[i - 1], entries[i - 2])) for i in range(3)]
    outputs = [_said("a", 1, logprobs=(reports[0],)), _said("", 2, logprobs=tuple(reports[1:]))]
    for limit, expected in ((0, [reports]), (1, [reports[:1], reports[1:]])):
        public = _public(ChunkPacker("r", limit).pack(outputs))
        assert [[item.chosen.token_id for item in message.logprobs] for message in public] == [
            [item.chosen.token_id for item in group] for group in expected
        ]
    last = public[-1].logprobs[-1]
    assert [(item.token_id, item.token, item.logprob) for item in (last.chosen, *last.top)] == [
        (2, b"\2", -0.25),
        (1, b"\1", -0.125),
        (0, b"\0", 0.0),
    ]


@given(
    batches=st.lists(st.lists(st.tuples(st.text(max_size=3), st.integers(1, 4)), min_size=1), min_size=1),
    max_tokens=st.integers(0, 5),
)
def test_no_text_and_no_token_is_lost(batches: list[list[tuple[str, int]]], max_tokens: int) -> None:
    packer = ChunkPacker("r", max_tokens)
    flat = [pair for batch in batches for pair in batch]
    chunks = [packer.pack([_said(*pair) for pair in batch]) for batch in batches]
    chunks.append(packer.pack([_said("", 1, FinishReason.STOP)]))
    texts = [text for chunk in chunks for text in _text(_public(chunk))]
    said = "".join(text for text, _ in flat)
    assert "".join(texts) == said
    assert [part.text for part in chunks[-1].result.content.parts] == ([said] if said else [])
    assert chunks[-1].result.output_tokens == sum(count for _, count in flat) + 1
    assert len(texts) == chunks[-1].result.next_chunk_index


ANSWER: tuple[Piece, ...] = (
    Thought("H"),
    Thought("m"),
    Text("Let me "),
    Text("see."),
    FunctionCall("f", {"a": [1, {"b": None}], "c": "x", "d": True, "e": 1.5}),
    FunctionCall("g", {}),
    Text("Done"),
)


def _pieces(content: Content) -> list[Piece]:
    return [_piece(part) for part in content.parts]


def _piece(part: Part) -> Piece:
    if part.HasField("function_call"):
        return FunctionCall(part.function_call.name, plain(part.function_call.args))
    return Thought(part.text) if part.thought else Text(part.text)


@pytest.mark.parametrize("max_tokens", [0, 1, 3])
def test_neighbours_of_a_kind_are_one_part_in_a_message_and_in_the_result(max_tokens: int) -> None:
    outputs = [EngineOutput((piece,), 1) for piece in ANSWER]
    chunk = ChunkPacker("r", max_tokens).pack([*outputs, EngineOutput((), 1, FinishReason.STOP, thought_tokens=2)])
    messages = [_pieces(message.content) for message in _public(chunk)]
    size = max_tokens or len(ANSWER)
    expected = [list(joined(ANSWER[start : start + size])) for start in range(0, len(ANSWER), size)]
    assert [message for message in messages if message] == expected
    assert _pieces(chunk.result.content) == list(joined(ANSWER))
    assert chunk.result.thought_tokens == 2


def test_a_call_has_the_same_id_in_its_message_and_in_the_result() -> None:
    packer = ChunkPacker("r", 1)
    chunks = [packer.pack([EngineOutput((piece,), 1)]) for piece in ANSWER]
    result = packer.pack([EngineOutput((), 1, FinishReason.STOP)]).result
    contents = [message.content for chunk in chunks for message in _public(chunk)]
    streamed = [part.function_call for content in contents for part in content.parts if part.HasField("function_call")]
    assert streamed == [part.function_call for part in result.content.parts if part.HasField("function_call")]
    assert [call.id for call in streamed] == ["r-1", "r-2"]


def test_an_answer_without_a_word_has_no_parts() -> None:
    chunk = ChunkPacker("r", 0).pack([EngineOutput((), 1, FinishReason.STOP)])
    assert chunk.result.HasField("content")
    assert list(chunk.result.content.parts) == []
