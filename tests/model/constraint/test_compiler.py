"""Which formats are taken: each answer's first tokens, clear refusals, and bounds that hostile ones cannot break."""

import json
import os
import random
import re
import time
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.constraint import Constraint, ConstraintCompiler, ConstraintError
from model.constraint.trial import CPU_S
from model.runtime.response_format import ResponseFormat
from model.runtime.sampling import SamplingParams
from model.runtime.sequence import Sequence
from model.runtime.token_mask import TokenMask
from model.tiny.tokenizer import SPECIALS, VOCAB_SIZE, build_tokenizer
from model.tokenizer import Tokenizer
from tests.model.test_tokenizer import gemma_like_backend

EOS_IDS = (1, 106, 50)
TOKENIZER = Tokenizer(build_tokenizer(), {})
PADDED = VOCAB_SIZE + 40  # a model may have more rows than its tokenizer has tokens
COMPILER = ConstraintCompiler(TOKENIZER, PADDED, EOS_IDS)
CPU_BOUND_S = 2 * CPU_S + 1.0  # once on trial, once for the answer


def schema(value: Any) -> ResponseFormat:
    return ResponseFormat("json_schema", json.dumps(value))


def regex(text: str) -> ResponseFormat:
    return ResponseFormat("regex", text)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        value = {"type": "object", "properties": {"a": value}, "required": ["a"]}
    return value


def allowed(constraint: Constraint, answer: list[int]) -> set[int]:
    """The ids that may follow, as the sampler would see it."""
    sequence = Sequence("r", [2], SamplingParams(1), constraint=constraint)
    sequence.tokens += answer
    scores = torch.zeros(1, PADDED)
    assert TokenMask(TOKENIZER).apply_to(scores, [sequence]) == {}
    return set(scores[0].isfinite().nonzero().flatten().tolist())


def texts(ids: set[int]) -> set[bytes]:
    return {TOKENIZER.token_bytes(token_id) for token_id in ids}


def test_only_what_continues_the_grammar_is_allowed_and_its_end_is_every_end_token() -> None:
    constraint = COMPILER.constraint(regex("[ab]{2}"), [2])
    (a,) = TOKENIZER.encode("a")
    assert texts(allowed(constraint, [])) == {b"a", b"b", b"ab"}
    assert texts(allowed(constraint, [a])) == {b"a", b"b"}
    assert allowed(constraint, [a, a]) == set(EOS_IDS)


def test_where_a_grammar_may_end_or_go_on_both_are_allowed() -> None:
    constraint = COMPILER.constraint(regex("a+"), [2])
    (a,) = TOKENIZER.encode("a")
    assert allowed(constraint, [a]) == {a, *EOS_IDS}


def test_no_control_token_and_no_row_without_a_token_is_ever_text() -> None:
    ids = allowed(COMPILER.constraint(regex("(?s).*"), [2]), [])
    assert ids & set(SPECIALS.values()) == set(EOS_IDS)
    assert max(ids) < VOCAB_SIZE
    assert len(ids) > VOCAB_SIZE * 0.8


def test_thoughts_are_free_and_the_grammar_rules_what_follows_them() -> None:
    begin, end, think = (SPECIALS[name] for name in ("<|channel>", "<channel|>", "<|think|>"))
    constraint = COMPILER.constraint(regex("[ab]"), [2, think, 105])
    assert texts(allowed(constraint, [])) == {b"a", b"b", b"<|channel>"}
    thought = [begin, *TOKENIZER.encode("hmm, c")]
    free = allowed(constraint, thought)
    assert free & set(SPECIALS.values()) == {end}
    assert len(free) == VOCAB_SIZE - len(SPECIALS) + 1
    assert texts(allowed(constraint, [*thought, end])) == {b"a", b"b"}
    assert allowed(constraint, [*thought, end, *TOKENIZER.encode("a")]) == set(EOS_IDS)


def test_a_model_that_opens_no_channel_is_ruled_from_its_first_token() -> None:
    constraint = COMPILER.constraint(regex("[ab]{2}"), [2, SPECIALS["<|think|>"]])
    assert texts(allowed(constraint, TOKENIZER.encode("a"))) == {b"a", b"b"}


def test_a_prompt_that_ends_inside_a_channel_is_gone_on_with() -> None:
    begin, end = SPECIALS["<|channel>"], SPECIALS["<channel|>"]
    assert end in allowed(COMPILER.constraint(regex("a"), [2, begin, *TOKENIZER.encode("thought\n")]), [])
    assert texts(allowed(COMPILER.constraint(regex("a"), [2, begin, end]), [])) == {b"a"}


def test_choices_are_taken_letter_by_letter() -> None:
    choices = ["a.b", "(c", "d|e", "\\", "[x]*", "ü/\n", "^$", "#-~ &"]
    for choice in choices:
        constraint = COMPILER.constraint(ResponseFormat("choice", json.dumps(choices)), [2])
        answer = TOKENIZER.encode(choice)
        for n in range(len(answer)):
            assert answer[n] in allowed(constraint, answer[:n])
        assert allowed(constraint, answer) == set(EOS_IDS)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("text", ["é( ab|c){2,4}", "[ -é]{1,5}", "▁? *日本"])
def test_a_vocabulary_that_falls_back_to_bytes_is_followed_too(text: str, seed: int) -> None:
    tokenizer = Tokenizer(gemma_like_backend(), {})
    size, end = tokenizer.vocab_size, tokenizer.token_id("<|turn>")
    constraint = ConstraintCompiler(tokenizer, size, [1, end]).constraint(regex(text), [2])
    sequence, chosen = Sequence("r", [2], SamplingParams(1), constraint=constraint), random.Random(seed)
    while sequence.tokens[-1] not in (1, end):
        scores = torch.zeros(1, size)
        assert TokenMask(tokenizer).apply_to(scores, [sequence]) == {}
        sequence.tokens.append(chosen.choice(scores[0].isfinite().nonzero().flatten().tolist()))
    assert re.fullmatch(text, tokenizer.decode(sequence.tokens))


@pytest.mark.parametrize(
    ("response_format", "words"),
    [
        (regex("(("), "unclosed group"),
        (regex("(?=a)b"), "look-around"),
        (regex(r"(a)\1"), "backreferences"),
        (regex("a\\"), "lone backslash"),
        (regex(r"[^\s\S]"), "matches nothing"),
        (schema({"type": "strang"}), "strang"),
        (schema({"type": "object", "properties": 3}), "properties"),
        (schema({"$ref": "https://example.com/schema.json"}), "example.com"),
        (schema({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}), "matches nothing"),
        (schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (schema({"not": {}, "x-guidance": {"lenient": True}}), "not"),
        (ResponseFormat("json_schema", "3"), "JSON"),
    ],
)
def test_what_cannot_be_compiled_is_refused_in_words(response_format: ResponseFormat, words: str) -> None:
    with pytest.raises(ConstraintError) as caught:
        COMPILER.constraint(response_format, [2])
    assert words in str(caught.value)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


HOSTILE = {
    "repeats": regex("(a{1,1000}){1,1000}"),
    "more repeats": regex("((a{1,1000}){1,1000}){1,1000}"),
    "deep": regex("(" * 2000 + "a" + ")" * 2000),
    "ambiguous": regex("(.*[ab].{0,100}){1,50}"),
    "unicode": regex(r"(\p{L}{1,300}\s){1,300}"),
    "deep schema": schema(nested(24)),
    "many values": schema({"enum": [f"value {i}" for i in range(5000)]}),
    "many properties": schema({"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(2000)}}),
    "long lists": schema({"type": "array", "items": nested(3), "minItems": 10**6, "maxItems": 10**6}),
    "long string": schema({"type": "string", "minLength": 10**5, "maxLength": 10**9}),
    "product": schema(
        {"allOf": [{"anyOf": [{"properties": {f"a{i}": {"const": j}}} for j in range(9)]} for i in range(8)]}
    ),
    "intersection": schema({"allOf": [{"type": "string", "pattern": f".*a{{{i}}}.*"} for i in range(30)]}),
    "patterns": schema({"anyOf": [{"type": "string", "pattern": f"a{{{i}}}.*b"} for i in range(200)]}),
}


def cpu_s() -> float:
    """Of this process and of those it waited for: other work on the machine does not count."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_format_is_refused_or_followed_within_bounds(name: str) -> None:
    """Followed means: as many tokens as it allows, a fraction of a second a mask, or an error that ends the answer."""
    before, started = resident_bytes(), cpu_s()
    try:
        constraint = COMPILER.constraint(HOSTILE[name], [2])
    except ConstraintError:
        assert cpu_s() - started < CPU_BOUND_S
        return
    assert cpu_s() - started < CPU_BOUND_S
    mask, sequence = TokenMask(TOKENIZER), Sequence("r", [2], SamplingParams(1), constraint=constraint)
    generator, slowest = torch.Generator().manual_seed(1), 0.0
    for _ in range(150):
        scores, began = torch.zeros(1, PADDED), cpu_s()
        errors = mask.apply_to(scores, [sequence])
        slowest = max(slowest, cpu_s() - began)
        token = int(torch.multinomial(scores[0].softmax(-1), 1, generator=generator))
        if errors or token in EOS_IDS:
            break
        sequence.tokens.append(token)
    assert slowest < 0.5
    assert resident_bytes() - before < 500 * 1024**2


def test_a_refusal_that_took_long_is_remembered() -> None:
    response_format = schema({"allOf": [{"type": "string", "pattern": f".*b{{{i}}}.*"} for i in range(30)]})
    with pytest.raises(ConstraintError, match="too"):
        COMPILER.constraint(response_format, [2])
    started = time.monotonic()
    with pytest.raises(ConstraintError, match="too"):
        COMPILER.constraint(response_format, [2])
    assert time.monotonic() - started < 0.1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYWORDS = ("type", "properties", "required", "items", "enum", "const", "pattern", "minLength", "maxItems", "anyOf")
KEYWORDS += ("allOf", "$ref", "format", "minimum", "multipleOf", "additionalProperties", "prefixItems", "x-guidance")
TYPES = st.sampled_from(["string", "object", "array", "integer", "number", "boolean", "null"])
SCHEMAS = st.recursive(
    st.dictionaries(st.sampled_from(KEYWORDS), TYPES | JSON, max_size=4),
    lambda inner: st.dictionaries(st.sampled_from(KEYWORDS), inner | st.lists(inner, max_size=3) | TYPES, max_size=4),
    max_leaves=5,
)
REGEXES = st.text(max_size=30) | st.text("ab(){}[]|*+?.^$\\,1290-:=!<>pPdDwWsS", max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(response_format=st.one_of(SCHEMAS.map(schema), REGEXES.map(regex)))
def test_any_text_is_compiled_or_refused_with_one_error(response_format: ResponseFormat) -> None:
    started = cpu_s()
    try:
        constraint = COMPILER.constraint(response_format, [2])
    except ConstraintError as error:
        assert str(error)  # noqa: PT017
        return
    finally:
        assert cpu_s() - started < CPU_BOUND_S
    assert allowed(constraint, [])


@pytest.mark.parametrize(
    "response_format",
    [
        ResponseFormat("choice", json.dumps([f"{i} {'word ' * 200}" for i in range(256)])),
        ResponseFormat("json_object"),
    ],
    ids=lambda item: item.kind,
)
def test_the_largest_choice_and_any_object_compile(response_format: ResponseFormat) -> None:
    assert allowed(COMPILER.constraint(response_format, [2]), [])
