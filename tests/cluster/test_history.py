"""An answer that goes back as history is, in the next prompt, the very tokens that the model generated."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.client import function_results, text_content
from cluster.codec.contents import check_content
from cluster.codec.structs import plain
from cluster.codec.violations import Violations
from cluster.prompt import PromptBuilder
from cluster.variants.parts import PartWriter
from model.answer import AnswerReader, FunctionCall, Pieces, Thought
from model.tiny import ensure_tiny
from model.tokenizer import Tokenizer
from protos.gemmacluster.v1.content_pb2 import Content

TINY = ensure_tiny("e2b")
BUILDER, TOKENIZER = PromptBuilder(TINY), Tokenizer.from_checkpoint(TINY)
USER = text_content("Hi")

names = st.from_regex(r"[A-Za-z0-9_]{1,20}", fullmatch=True)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_ ]{0,8}[a-z]", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(['<|"|>', "<tool_call|>"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
calls = st.builds(FunctionCall, names, st.dictionaries(keys, values, max_size=4))


@settings(max_examples=200, deadline=None)
@given(thought=texts.filter(bool), said=st.lists(calls, min_size=1, max_size=3))
def test_calls_go_back_as_the_tokens_they_were(thought: str, said: list[FunctionCall]) -> None:
    pieces: Pieces = (Thought(thought), *said)
    before = BUILDER.build([USER], thinking=True).token_ids
    after = BUILDER.build([USER, PartWriter("r").content(pieces)], thinking=True).token_ids
    assert after[: len(before)] == before

    generated = after[len(before) :]
    reader = AnswerReader(TOKENIZER, (), before)
    read = reader.push(generated) + reader.finish()
    content = PartWriter("r").content(read)
    assert [plain(part.function_call.args) for part in content.parts if part.HasField("function_call")] == [
        call.args for call in said
    ]
    results = function_results(*((part.function_call, {"x": 1}) for part in content.parts if not part.thought))
    again = BUILDER.build([USER, content, results], thinking=True).token_ids
    assert again[: len(before) + len(generated)] == before + generated


spellings = st.sampled_from(
    ["<|tool_call>call:f{", "}<tool_call|>", "<|channel>thought\n", "<channel|>", "a:", "[1,", "{b:", "]", "}", '<|"|>']
)
ids = st.lists(st.integers(0, TOKENIZER.vocab_size - 1) | spellings, max_size=30)
numbers = st.sampled_from(["1e999", "-0", "1e308", "9" * 310, "NaN", '"\\ud800"', '"\\u0000"'])


@settings(max_examples=300, deadline=None)
@given(drawn=ids, number=numbers)
def test_any_answer_is_good_as_history(drawn: list[int | str], number: str) -> None:
    drawn = [*drawn, f"<|tool_call>call:f{{n:{number}}}<tool_call|>"]
    reader = AnswerReader(TOKENIZER)
    for item in drawn:
        pieces = reader.push(TOKENIZER.encode(item) if isinstance(item, str) else [item])
        _check(PartWriter("r").content(pieces))
    _check(PartWriter("r").content(reader.finish()))


def _check(content: Content) -> None:
    violations = Violations()
    check_content(content, "contents[0]", violations)
    violations.raise_any()
    assert BUILDER.build([USER, Content.FromString(content.SerializeToString()), USER]).token_ids
