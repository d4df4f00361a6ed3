"""An answer that another loop began: from any token on it goes on as it would have done there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.answer import Piece, joined
from model.runtime.output import TokenOutput
from model.runtime.response_format import ResponseFormat
from model.runtime.sampling import SamplingParams
from model.tiny.tokenizer import SPECIALS
from tests.model.runtime.driver import Gathered
from tests.model.runtime.test_constrained import SCHEMAS, Tiny, prompt

THOUGHT = {SPECIALS["<|channel>"]: 20.0, SPECIALS["<channel|>"]: 6.0}
ASKED: dict[str, SamplingParams] = {
    "greedy": SamplingParams(24, temperature=0, ignore_eos=True),
    "seeded": SamplingParams(24, seed=11, top_k=40, top_p=0.9, min_p=0.01, ignore_eos=True),
    "penalties": SamplingParams(
        24, seed=3, repetition_penalty=1.4, presence_penalty=1.5, frequency_penalty=1.5, logit_bias={300: 4.0}
    ),
    "logprobs": SamplingParams(16, seed=5, logprobs=3, ignore_eos=True),
    "json": SamplingParams(40, seed=1, response_format=ResponseFormat("json_schema", json.dumps(SCHEMAS[0]))),
    "regex": SamplingParams(40, seed=2, response_format=ResponseFormat("regex", r"\w{1,5}@\w{1,5}\.(de|fr)")),
    "thoughts": SamplingParams(40, seed=4, logit_bias=THOUGHT, response_format=ResponseFormat("regex", "[ab]{3}")),
}


@pytest.fixture(scope="module")
def loops() -> Any:
    """Two of one checkpoint; the second has no prefix cache to find the answer in."""
    with Tiny("e2b", max_batch_size=32) as first, Tiny("e2b", max_batch_size=32, has_prefix_cache=False) as second:
        yield first, second


def _go_on(tiny: Tiny, asked: list[int], params: SamplingParams, answers: list[list[int]]) -> list[Gathered]:
    gathered = [Gathered() for _ in answers]
    for i, (answered, item) in enumerate(zip(answers, gathered, strict=True)):
        constraint = tiny.constraint(params, asked)
        tiny.loop.submit(f"r{i}", asked, params, item, None, constraint, answered=answered)
    return [item.wait() for item in gathered]


def _facts(outputs: list[TokenOutput]) -> list[Any]:
    return [(item.token_ids, item.pieces, item.finish_reason, item.stop_text, item.thought_tokens) for item in outputs]


def _logprobs(outputs: list[TokenOutput]) -> list[float]:
    reports = [report for output in outputs for report in output.logprobs]
    return [entry.logprob for report in reports for entry in (report.chosen, *report.top)]


@pytest.mark.parametrize("name", ASKED)
def test_from_every_cut_an_answer_goes_on_as_it_would_have(loops: tuple[Tiny, Tiny], name: str) -> None:
    asked, params = prompt(loops[0].tokenizer, "Tell me", thinking=name == "thoughts"), ASKED[name]
    (whole,) = loops[0].answers([asked], [params])
    assert len(whole.tokens) > 3
    assert name != "thoughts" or whole.last.thought_tokens > 2
    cuts = list(range(1, len(whole.outputs)))
    for cut, rest in zip(cuts, _go_on(loops[1], asked, params, [whole.tokens[:cut] for cut in cuts]), strict=True):
        assert _facts(rest.outputs) == _facts(whole.outputs[cut:])
        assert _logprobs(rest.outputs) == pytest.approx(_logprobs(whole.outputs[cut:]), abs=1e-4)
        assert rest.last.cached_tokens <= len(asked)


def test_a_stop_string_across_the_cut_is_held_back_once_and_found(loops: tuple[Tiny, Tiny]) -> None:
    asked, params = prompt(loops[0].tokenizer, "Tell me"), ASKED["greedy"]
    (free,) = loops[0].answers([asked], [params])
    text = free.text
    for stops in ((text[len(text) // 2 :][:6],), (text[3:9] + "\0", text[4:] + "\0")):
        stopped = SamplingParams(24, temperature=0, ignore_eos=True, stop=stops)
        (whole,) = loops[0].answers([asked], [stopped])
        cuts = list(range(1, len(whole.outputs)))
        rests = _go_on(loops[1], asked, stopped, [whole.tokens[:cut] for cut in cuts])
        for cut, rest in zip(cuts, rests, strict=True):
            assert _facts(rest.outputs) == _facts(whole.outputs[cut:])
            shown: list[Piece] = [piece for item in (*whole.outputs[:cut], *rest.outputs) for piece in item.pieces]
            assert joined(shown) == joined([piece for item in whole.outputs for piece in item.pieces])


def test_an_answer_that_is_complete_already_is_refused(loops: tuple[Tiny, Tiny]) -> None:
    with pytest.raises(ValueError, match="complete with the 2 tokens"):
        loops[0].loop.submit("r", [5, 6], SamplingParams(2), Gathered(), answered=[7, 8])
