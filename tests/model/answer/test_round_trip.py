"""What a template spells and a reader reads is the same, by our own template and by transformers' reader."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.cli.serving.utils import _RESPONSE_TEMPLATE_FALLBACKS
from transformers.utils.chat_parsing import parse_response

import model.chat_template
from model.answer import FunctionCall, Pieces, Text, Thought
from model.chat_template import ChatTemplate
from model.tokenizer import Tokenizer
from tests.model.answer.conftest import read

TEMPLATE = ChatTemplate((Path(model.chat_template.__file__).parent / "chat_template.jinja").read_text(), {})
GEMMA = next(template for models, template in _RESPONSE_TEMPLATE_FALLBACKS.items() if "gemma4" in models)
USER = {"role": "user", "content": "Hi"}

names = st.from_regex(r"[A-Za-z0-9_]{1,20}", fullmatch=True)
# A key stands bare: it has no sign of the grammar in it, and no blanks around it.
keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters='{}[],:"'), min_size=1, max_size=12)
keys = keys.map(str.strip).filter(bool)
numbers = st.integers() | st.integers(-(10**300), 10**300) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(['<|"|>', "<tool_call|>", '"', "}", ",a:1"])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
calls = st.builds(FunctionCall, names, st.dictionaries(keys, values, max_size=5))


def spelled(tokenizer: Tokenizer, thought: str, said: list[FunctionCall], text: str = "") -> list[int]:
    """The ids of a model's turn as the template renders it, without the turn's begin."""
    answer: dict[str, Any] = {"role": "assistant", "content": text, "reasoning": thought}
    answer["tool_calls"] = [{"function": {"name": call.name, "arguments": call.args}} for call in said]
    prompt = TEMPLATE.encode(tokenizer, [USER], enable_thinking=True)
    whole = TEMPLATE.encode(tokenizer, [USER, answer], enable_thinking=True)
    assert whole[: len(prompt)] == prompt
    return whole[len(prompt) :]


@settings(max_examples=400, deadline=None)
@given(thought=texts, said=st.lists(calls, min_size=1, max_size=3), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_calls_are_read_as_they_are_spelled_however_the_stream_is_cut(
    tokenizer: Tokenizer, thought: str, said: list[FunctionCall], cuts: list[int]
) -> None:
    ids = spelled(tokenizer, thought, said)
    groups = [ids[start:end] for start, end in pairwise([0, *sorted(cuts), len(ids)])]
    expected: Pieces = (*([Thought(thought)] if thought else []), *said)
    pieces = read(tokenizer, groups)
    assert pieces == expected
    assert spelled(tokenizer, thought, [piece for piece in pieces if isinstance(piece, FunctionCall)]) == ids


# transformers reads decoded text and its keys are words: nothing may spell a control token or a sentinel of its own.
words = st.text(st.characters(codec="utf-8", exclude_characters="<\x01\x02"), max_size=12)
word_keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(word_keys, inner, max_size=3),
    max_leaves=8,
)
plain_calls = st.builds(FunctionCall, names, st.dictionaries(word_keys, plain_values, max_size=4))


@settings(max_examples=200, deadline=None)
@given(thought=words, said=st.lists(plain_calls, max_size=3), text=words)
def test_transformers_reads_the_same_answer(
    tokenizer: Tokenizer, thought: str, said: list[FunctionCall], text: str
) -> None:
    calls = [f"<|tool_call>call:{call.name}{spelled_args(tokenizer, call)}<tool_call|>" for call in said]
    answer = f"<|channel>thought\n{thought}\n<channel|>{text}{''.join(calls)}"
    theirs = parse_response(answer, GEMMA, prefix="<|turn>model\n")
    pieces = read(tokenizer, [tokenizer.encode(answer)])
    assert [piece for piece in pieces if isinstance(piece, FunctionCall)] == [
        FunctionCall(call["function"]["name"], call["function"]["arguments"]) for call in theirs.get("tool_calls", [])
    ]
    for kind, field in ((Thought, "thinking"), (Text, "content")):
        ours = "".join(piece.text for piece in pieces if isinstance(piece, kind))
        assert ours.strip() == theirs.get(field, "").strip()  # theirs trims


def spelled_args(tokenizer: Tokenizer, call: FunctionCall) -> str:
    ids = spelled(tokenizer, "", [call])
    return (
        tokenizer.decode(ids, skip_special=False)
        .partition(f":{call.name}")[2]
        .removesuffix("<tool_call|><|tool_response>")
    )
