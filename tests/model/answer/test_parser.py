"""Answers told apart: what is text, thought and call, however the ids arrive and whatever they are."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.answer import AnswerReader, FunctionCall, Piece, Pieces, Text, Thought, joined
from model.tiny.tokenizer import SPECIALS, VOCAB_SIZE
from model.tokenizer import Tokenizer
from tests.model.answer.conftest import read

CALL = '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>'
PARIS = FunctionCall("get_weather", {"city": "Paris", "days": 3})


def pieces_of(tokenizer: Tokenizer, spelled: str, **options: tuple[str, ...]) -> Pieces:
    return read(tokenizer, [[token_id] for token_id in tokenizer.encode(spelled)], **options)


@pytest.mark.parametrize(
    ("spelled", "pieces"),
    [
        ("", []),
        ("Hello", [Text("Hello")]),
        ("<|channel>thought\nHm<channel|>Hello", [Thought("Hm"), Text("Hello")]),
        ("<|channel>thought\nHm\n\n<channel|>Hello", [Thought("Hm\n"), Text("Hello")]),
        ("<|channel>thought\n<channel|>Hello", [Text("Hello")]),
        ("<|channel>thought<channel|>Hello", [Text("Hello")]),
        ("<|channel>thought\nthought\nx<channel|>", [Thought("thought\nx")]),
        ("a<|channel>thought\nb<channel|>c<|channel>thought\nd", [Text("a"), Thought("b"), Text("c"), Thought("d")]),
        (CALL, [PARIS]),
        (CALL + CALL, [PARIS, PARIS]),
        (f"<|channel>thought\nHm{CALL}Hello", [Thought("Hm"), PARIS, Text("Hello")]),
        (f"Well. {CALL}<|tool_response>", [Text("Well. "), PARIS]),
        ("<|tool_call>call:f{}<tool_call|>", [FunctionCall("f", {})]),
    ],
)
def test_thoughts_text_and_calls_are_told_apart(tokenizer: Tokenizer, spelled: str, pieces: list[Piece]) -> None:
    assert pieces_of(tokenizer, spelled) == tuple(pieces)


def test_the_name_of_another_channel_is_a_part_of_the_thought(tokenizer: Tokenizer) -> None:
    assert pieces_of(tokenizer, "<|channel>analysis\nHm<channel|>Hello") == (Thought("analysis\nHm"), Text("Hello"))
    assert pieces_of(tokenizer, "<|channel>thoughts\nHm<channel|>") == (Thought("thoughts\nHm"),)


@pytest.mark.parametrize("spelled", ["<channel|>Hello", "He<tool_call|>llo", "He<|turn>l<bos>lo", 'H<|"|>ello<|"|>'])
def test_control_tokens_that_mean_nothing_here_are_left_out(tokenizer: Tokenizer, spelled: str) -> None:
    assert pieces_of(tokenizer, spelled) == (Text("Hello"),)


@pytest.mark.parametrize("spelled", [CALL, "<|channel>thought\nHm<channel|>", '<|"|><turn|>'])
def test_control_tokens_spelled_by_ordinary_tokens_are_text(tokenizer: Tokenizer, spelled: str) -> None:
    assert read(tokenizer, [tokenizer.encode_plain(spelled)]) == (Text(spelled),)


def test_control_tokens_spelled_inside_a_string_stay_in_it(tokenizer: Tokenizer) -> None:
    value = '<tool_call|> <|"|> }'
    before, after = CALL.split("Paris")
    ids = [*tokenizer.encode(before), *tokenizer.encode_plain(value), *tokenizer.encode(after)]
    assert read(tokenizer, [ids]) == (FunctionCall("get_weather", {"city": value, "days": 3}),)


@pytest.mark.parametrize(
    "spelled",
    [
        CALL.removesuffix("<tool_call|>"),
        "<|tool_call>",
        "<|tool_call>call:",
        '<|tool_call>call:f{city:<|"|>Par',
        "<|tool_call>call:f{a:}<tool_call|>",
        "<|tool_call>I would rather talk<tool_call|>",
        "<|tool_call>call:f{" + "a:{" * 5000 + "}" * 5001 + "<tool_call|>",
    ],
)
def test_what_is_no_whole_call_is_text_as_it_came(tokenizer: Tokenizer, spelled: str) -> None:
    assert pieces_of(tokenizer, f"Well. {spelled}") == (Text(f"Well. {spelled}"),)


@pytest.mark.parametrize("interruption", ["<|channel>thought\nHm<channel|>", "<|tool_call>call:f{}<tool_call|>"])
def test_an_interrupted_call_is_text_and_what_interrupts_it_is_read(tokenizer: Tokenizer, interruption: str) -> None:
    assert pieces_of(tokenizer, f"<|tool_call>call:f{{a:{interruption}") == (
        Text("<|tool_call>call:f{a:"),
        *pieces_of(tokenizer, interruption),
    )


def test_thoughts_and_text_are_shown_token_by_token_and_calls_whole(tokenizer: Tokenizer) -> None:
    spelled = "<|channel>thought\nLet me see.<channel|>Well, well. "
    reader = AnswerReader(tokenizer)
    shown = [reader.push([token_id]) for token_id in tokenizer.encode(spelled)]
    plain = len(tokenizer.encode("Let me see.Well, well. "))
    assert len([pieces for pieces in shown if pieces]) >= plain - 1
    call = [reader.push([token_id]) for token_id in tokenizer.encode(CALL)]
    assert call == [()] * (len(call) - 1) + [(PARIS,)]


def test_a_prompt_that_opens_a_channel_begins_the_answer_in_it(tokenizer: Tokenizer) -> None:
    def answer(prompt: str) -> tuple[Pieces, int]:
        reader = AnswerReader(tokenizer, (), tokenizer.encode(prompt))
        pieces = reader.push(tokenizer.encode("Hm<channel|>Hi")) + reader.finish()
        return tuple(joined(pieces)), reader.thought_tokens

    hm = len(tokenizer.encode("Hm"))
    assert answer("<|turn>model\n<|channel>thought\n") == ((Thought("Hm"), Text("Hi")), hm + 1)
    assert answer("<|turn>model\n<|channel>thought\n<channel|>")[1] == 0
    assert answer("<|channel>thought\n<turn|>\n<|turn>model\n")[1] == 0


def test_thought_tokens_are_counted_with_their_begin_and_end(tokenizer: Tokenizer) -> None:
    thought = tokenizer.encode("<|channel>thought\nLet me see.<channel|>")
    reader = AnswerReader(tokenizer)
    reader.push([*thought, *tokenizer.encode("Hello" + CALL), *thought[:4]])
    assert reader.thought_tokens == len(thought) + 4


def test_stop_strings_are_looked_for_in_text_alone(tokenizer: Tokenizer) -> None:
    spelled = f"<|channel>thought\nParis!<channel|>{CALL}In Paris, you know"
    assert pieces_of(tokenizer, spelled, stop=("Paris",)) == (Thought("Paris!"), PARIS, Text("In "))


def test_a_stop_string_does_not_reach_across_a_call(tokenizer: Tokenizer) -> None:
    assert pieces_of(tokenizer, f"EN{CALL}D", stop=("END",)) == (Text("EN"), PARIS, Text("D"))


def test_what_could_become_a_stop_string_is_shown_at_the_end(tokenizer: Tokenizer) -> None:
    assert pieces_of(tokenizer, "the EN", stop=("END",)) == (Text("the EN"),)


any_ids = st.lists(
    st.one_of(
        st.sampled_from(sorted(SPECIALS.values())),
        st.integers(0, VOCAB_SIZE + 5),
        st.sampled_from(["thought\n", "call:f{", "a:1", "}", "[", ",", '"', "é", "\n"]),
    ),
    max_size=40,
)


def ids_of(tokenizer: Tokenizer, drawn: list[int | str]) -> list[int]:
    return [i for item in drawn for i in (tokenizer.encode(item) if isinstance(item, str) else [item])]


@settings(max_examples=500, deadline=None)
@given(drawn=any_ids, cuts=st.lists(st.integers(0, 60), max_size=6), stop=st.sampled_from([(), ("a", "}\n"), ("f{a",)]))
def test_any_ids_in_any_grouping_give_the_same_pieces(
    tokenizer: Tokenizer, drawn: list[int | str], cuts: list[int], stop: tuple[str, ...]
) -> None:
    ids = ids_of(tokenizer, drawn)
    bounds = [0, *sorted(cuts), len(ids)]
    groups = [ids[start:end] for start, end in pairwise(bounds)]
    one_by_one = read(tokenizer, [[token_id] for token_id in ids], stop=stop)
    assert read(tokenizer, [ids], stop=stop) == read(tokenizer, groups, stop=stop) == one_by_one


# No half characters, nothing that spells markup, and no complete call: then every character has to come out.
plain_words = st.sampled_from(["Hello", " and ", "call:f{", "a:1", "}", "é", "日本", "  "])
unfinished = st.sampled_from(sorted(token for token in SPECIALS if token != "<tool_call|>"))


@settings(max_examples=500, deadline=None)
@given(st.lists(plain_words | unfinished, max_size=30))
def test_no_text_is_lost(tokenizer: Tokenizer, drawn: list[str]) -> None:
    pieces = pieces_of(tokenizer, "".join(drawn))
    shown = "".join(piece.text for piece in pieces if not isinstance(piece, FunctionCall))
    for token in SPECIALS:  # a call that was cut off shows its own
        shown = shown.replace(token, "")
    assert shown == "".join(word for word in drawn if word not in SPECIALS)


@settings(max_examples=300, deadline=None)
@given(drawn=any_ids)
def test_without_regions_the_text_is_the_decoded_text(tokenizer: Tokenizer, drawn: list[int | str]) -> None:
    begins = {SPECIALS["<|channel>"], SPECIALS["<|tool_call>"]}
    ids = [token_id for token_id in ids_of(tokenizer, drawn) if token_id not in begins]
    text = tokenizer.decode(ids)
    assert read(tokenizer, [ids]) == ((Text(text),) if text else ())


@pytest.mark.parametrize(
    "filling", ["x" * 1_000_000, "a:{" * 300_000, '"' * 500_000, "1" * 1_000_000, "1,a:" * 200_000]
)
def test_a_megabyte_of_arguments_takes_time_in_proportion(tokenizer: Tokenizer, filling: str) -> None:
    ids = [*tokenizer.encode("<|tool_call>call:f{a:"), *tokenizer.encode_plain(filling)]
    ids += tokenizer.encode("}<tool_call|>")
    started = time.process_time()
    (piece,) = read(tokenizer, [ids])
    assert time.process_time() - started < 5
    assert isinstance(piece, FunctionCall | Text)
