"""Sampling over gRPC: answers that keep a form, log probabilities, penalties, and what is refused."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest

from cluster.client import Client, request
from cluster.errors import InvalidRequest, NotSupported
from model.tiny.tokenizer import SPECIALS
from protos.gemmacluster.v1 import content_pb2, generation_pb2

STOP = generation_pb2.FINISH_REASON_STOP
MAX_TOKENS = generation_pb2.FINISH_REASON_MAX_TOKENS
THOUGHT_END = SPECIALS["<channel|>"]
TRIP = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "days": {"type": "integer", "minimum": 1, "maximum": 30},
        "by": {"enum": ["train", "boat"]},
    },
    "required": ["days", "city", "by"],
    "additionalProperties": False,
}


def _text(answer: generation_pb2.GenerateResponse) -> str:
    return "".join(part.text for part in answer.content.parts if not part.thought)


@pytest.mark.parametrize("thinking", [False, True])
def test_random_weights_keep_a_schema(client: Client, thinking: bool) -> None:
    def ask(seed: int) -> generation_pb2.GenerateResponse:
        options: dict[str, Any] = {"temperature": 1, "top_k": 1024, "top_p": 1, "seed": seed, "thinking": thinking}
        options["logit_bias"] = {THOUGHT_END: 8.0}  # without it, random weights would think for ever
        options["response_format"] = {"json_schema": TRIP}
        return client.generate("Where to?", model="e2b", max_output_tokens=400, **options)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(12)))
    finished = [answer for answer in answers if answer.finish_reason == STOP]
    assert len(finished) >= 8
    for answer in finished:
        value = json.loads(_text(answer))
        jsonschema.validate(value, TRIP)
        assert list(value) == ["days", "city", "by"]
    assert {answer.finish_reason for answer in answers} <= {STOP, MAX_TOKENS}
    assert any(answer.usage.thought_tokens for answer in finished) == thinking


def test_a_streamed_answer_keeps_its_form_and_is_stored(client: Client) -> None:
    session = client.create_session()
    options: dict[str, Any] = {"model": "e4b", "max_output_tokens": 60, "session": session.session_id}
    pieces = list(client.stream("Well?", response_format={"regex": "(yes|no), [a-z]{2,8}!"}, **options))
    text = "".join(piece.text for piece in pieces)
    assert re.fullmatch("(yes|no), [a-z]{2,8}!", text)
    assert pieces[-1].response.finish_reason == STOP
    assert client.get_session(session.session_id).contents[-1].parts[0].text == text


def test_a_choice_and_any_object(client: Client) -> None:
    choice = {"choice": {"texts": ["left", "right"]}}
    chosen = {
        _text(client.generate("Which?", model="e2b", max_output_tokens=20, seed=seed, response_format=choice))
        for seed in range(8)
    }
    assert chosen <= {"left", "right"}
    cut = client.generate("Any", model="e2b", max_output_tokens=2, response_format={"json_object": {}})
    assert cut.finish_reason in (STOP, MAX_TOKENS)
    assert _text(cut).startswith("{")


def test_log_probabilities_agree_in_stream_and_whole_and_cost_nothing_unasked(client: Client) -> None:
    options: dict[str, Any] = {"model": "e2b", "max_output_tokens": 12, "seed": 5, "temperature": 1, "logprobs": 3}
    whole = client.generate("Count", **options)
    streamed = [item for piece in client.stream("Count", **options) for item in piece.response.logprobs]
    assert len(whole.logprobs) == whole.usage.output_tokens
    assert [item.chosen.token_id for item in streamed] == [item.chosen.token_id for item in whole.logprobs]
    for one, other in zip(streamed, whole.logprobs, strict=True):
        assert one.chosen.logprob == pytest.approx(other.chosen.logprob, abs=1e-4)
        best = [entry.logprob for entry in one.top]
        assert len(best) == 3
        assert best == sorted(best, reverse=True)
        assert one.chosen.logprob <= best[0] <= 0
    said = b"".join(item.chosen.token for item in whole.logprobs).decode(errors="replace")
    assert said.startswith(_text(whole)[:1])
    assert not client.generate("Count", **{**options, "logprobs": None}).logprobs


def test_a_penalty_keeps_a_model_from_repeating_itself(client: Client) -> None:
    options: dict[str, Any] = {"model": "e2b", "max_output_tokens": 60, "temperature": 0, "logprobs": 0}
    free, varied = (
        [item.chosen.token_id for item in client.generate("one two", frequency_penalty=penalty, **options).logprobs]
        for penalty in (0, 2)
    )
    assert len(set(varied)) / len(varied) > len(set(free)) / len(free)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": float("nan")}, "frequency_penalty"),
        ({"min_p": -1}, "min_p"),
        ({"logprobs": 21}, "logprobs"),
        ({"logit_bias": {-4: 1.0}}, "logit_bias[-4]"),
        ({"logit_bias": {10**6: 1.0}}, "logit_bias[1000000]"),
        ({"response_format": {"regex": "(("}}, "response_format.regex"),
        ({"response_format": {"regex": "x" * 5000}}, "response_format.regex"),
        ({"response_format": {"json_schema": {"type": "strang"}}}, "response_format.json_schema"),
        ({"response_format": {"json_schema": {"not": {}}}}, "response_format.json_schema"),
        ({"response_format": {"choice": {"texts": []}}}, "response_format.choice.texts"),
    ],
)
def test_what_cannot_be_done_names_its_field(client: Client, options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.generate("hi", model="e2b", max_output_tokens=4, **options)
    assert [violation.field for violation in caught.value.violations] == [f"generation_config.{field}"]


def test_a_form_is_not_combined_with_tools(client: Client) -> None:
    message = request("hi", model="e2b", response_format={"json_object": {}})
    message.tools.append(content_pb2.FunctionDeclaration(name="clock"))
    with pytest.raises(InvalidRequest) as caught:
        client.raw_generate(message)
    assert caught.value.violations[0].field == "generation_config.response_format"


def test_the_echo_engine_says_what_it_cannot_do(client: Client) -> None:
    for options in ({"logprobs": 1}, {"response_format": {"json_object": {}}}):
        with pytest.raises(NotSupported, match=f"generation_config.{next(iter(options))}"):
            client.generate("hi", model="echo", **options)
