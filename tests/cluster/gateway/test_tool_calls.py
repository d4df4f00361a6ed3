"""Thoughts and function calls of a real engine, from its tokens to the caller, the session, and the next prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cluster.client import Client, function_results, request
from cluster.errors import InvalidRequest
from model.tiny import ensure_tiny
from model.tokenizer import Tokenizer
from protos.gemmacluster.v1.content_pb2 import ROLE_MODEL, ROLE_TOOL, Content, FunctionCall, Part
from protos.gemmacluster.v1.generation_pb2 import (
    FINISH_REASON_MAX_TOKENS,
    FINISH_REASON_STOP,
    GenerateResponse,
    StreamGenerateRequest,
)
from tests.cluster.gateway.local_gateway import LocalGateway
from tests.cluster.taught_answers import (
    ASK,
    BOTH,
    BROKEN,
    HELLO,
    RESULT,
    SILENT,
    TOLD,
    Exchange,
)


@pytest.fixture
def client(taught_gateway: LocalGateway) -> Iterator[Client]:
    taught_gateway.engine().requests.clear()
    with Client(taught_gateway.address, timeout_s=60) as client:
        yield client


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_checkpoint(ensure_tiny("e2b"))


def options_of(exchange: Exchange, **options: Any) -> dict[str, Any]:
    return {
        "thinking": exchange.thinking,
        "tools": exchange.tools,
        "temperature": 0,
        "max_output_tokens": 100,
        **options,
    }


def ask(client: Client, exchange: Exchange, **options: Any) -> GenerateResponse:
    return client.generate(exchange.contents, **options_of(exchange, **options))


def said(content: Content) -> list[tuple[str, Any]]:
    """The parts in a form to compare: what kind, and what it holds."""
    return [_said(part) for part in content.parts]


def _said(part: Part) -> tuple[str, Any]:
    if part.HasField("function_call"):
        return part.function_call.name, dict(part.function_call.args)
    return ("thought" if part.thought else "text"), part.text


WANT_PARIS = ("get_weather", {"city": "Paris", "days": 3})
WANT_OSLO = ("get_weather", {"city": "Oslo", "days": 1})


def test_a_thought_is_told_from_the_answer_and_counted(client: Client) -> None:
    answer = ask(client, HELLO)
    assert said(answer.content) == [("thought", "Hm, a greeting."), ("text", "Hello there")]
    assert answer.content.role == ROLE_MODEL
    assert 0 < answer.usage.thought_tokens < answer.usage.output_tokens
    assert answer.finish_reason == FINISH_REASON_STOP


def test_a_call_comes_with_its_arguments_and_ends_the_answer(client: Client) -> None:
    answer = ask(client, ASK)
    assert said(answer.content) == [("thought", "I must look."), WANT_PARIS]
    assert answer.finish_reason == FINISH_REASON_STOP


def test_calls_side_by_side_have_ids_of_their_own(client: Client) -> None:
    answer = ask(client, BOTH)
    assert said(answer.content) == [("text", "Let me see. "), WANT_PARIS, WANT_OSLO]
    assert answer.usage.thought_tokens == 0
    ids = [part.function_call.id for part in answer.content.parts[1:]]
    assert len(set(ids)) == 2
    assert all(ids)


@pytest.mark.parametrize("per_message", [1, 4, None])
@pytest.mark.parametrize("exchange", [HELLO, ASK, BOTH, BROKEN, SILENT])
def test_a_stream_joined_is_the_whole_answer(
    client: Client, taught_gateway: LocalGateway, exchange: Exchange, per_message: int | None
) -> None:
    taught_gateway.forget()
    message = request(exchange.contents, request_id="same", **options_of(exchange))
    whole = client.raw_generate(message)
    taught_gateway.forget()
    stream = list(client.raw_stream(StreamGenerateRequest(request=message, max_tokens_per_message=per_message)))
    parts: list[Part] = []
    for part in (part for response in stream for part in response.content.parts):
        goes_on = parts and part.HasField("text") and parts[-1].HasField("text") and parts[-1].thought == part.thought
        if goes_on:
            parts[-1].text += part.text
        else:
            parts.append(part)
    assert parts == list(whole.content.parts)
    spent = [(usage.output_tokens, usage.thought_tokens) for usage in (stream[-1].usage, whole.usage)]
    assert spent[0] == spent[1]
    assert stream[-1].finish_reason == whole.finish_reason


def test_pieces_show_thoughts_apart_from_text(client: Client) -> None:
    pieces = list(client.stream(ASK.contents, **options_of(ASK)))
    assert "".join(piece.thought for piece in pieces) == "I must look."
    assert "".join(piece.text for piece in pieces) == ""
    assert [call.name for piece in pieces for call in piece.calls] == ["get_weather"]


def test_a_session_keeps_thought_and_call_and_the_result_comes_in_the_next_turn(
    client: Client, taught_gateway: LocalGateway, tokenizer: Tokenizer
) -> None:
    session = client.create_session().session_id
    first = ask(client, ASK, session=session)
    (call,) = (part.function_call for part in first.content.parts if part.HasField("function_call"))
    second = client.generate(function_results((call, RESULT)), session=session, **options_of(TOLD))
    assert said(second.content) == [("text", "Clear for three days.")]

    stored = client.get_session(session).contents
    assert [said(content) for content in stored[1::2]] == [said(first.content), said(second.content)]
    assert stored[1] == first.content
    assert stored[2].role == ROLE_TOOL
    # The next prompt has the very tokens that the model generated, and then the result.
    before, after = (item.prompt_token_ids for item in taught_gateway.engine().requests)
    generated = tokenizer.encode(ASK.spelled)
    assert after[: len(before) + len(generated)] == before + generated
    result = 'response:get_weather{celsius:21.5,sky:<|"|>clear<|"|>}<tool_response|>'
    assert after[len(before) + len(generated) :] == tokenizer.encode(result)


def test_without_a_session_the_answer_goes_back_as_it_came(client: Client) -> None:
    content = ask(client, ASK).content
    (call,) = (part.function_call for part in content.parts if part.HasField("function_call"))
    contents = [*ASK.contents, content, function_results((call, RESULT))]
    assert said(client.generate(contents, **options_of(TOLD)).content) == [("text", "Clear for three days.")]


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (FunctionCall(name="get_weather", id="another"), "get_weather"),
        (FunctionCall(name="get_time"), "get_weather"),
    ],
)
def test_a_result_that_answers_no_call_is_refused(client: Client, call: FunctionCall, names: str) -> None:
    session = client.create_session().session_id
    ask(client, ASK, session=session)
    for method in (client.generate, client.count_tokens, client.route):
        with pytest.raises(InvalidRequest, match=names) as caught:
            method(function_results((call, RESULT)), session=session)
        assert [item.field for item in caught.value.violations] == ["contents[0].parts[0].function_response"]


@pytest.mark.parametrize("before", [None, HELLO])
def test_a_result_in_a_session_without_a_call_is_refused(client: Client, before: Exchange | None) -> None:
    session = client.create_session().session_id
    if before is not None:
        ask(client, before, session=session)
    with pytest.raises(InvalidRequest, match="has none"):
        client.generate(function_results((FunctionCall(name="get_weather"), RESULT)), session=session)


def test_a_broken_call_is_text(client: Client) -> None:
    assert said(ask(client, BROKEN).content) == [("text", '<|tool_call>call:get_weather{city:<|"|>Par')]


def test_a_call_cut_off_by_the_limit_is_text(client: Client) -> None:
    whole = ask(client, BOTH)
    tokens = whole.usage.output_tokens - 2  # the last call's end, and the token that ends the answer
    answer = ask(client, BOTH, max_output_tokens=tokens)
    assert answer.finish_reason == FINISH_REASON_MAX_TOKENS
    text, call, rest = said(answer.content)
    assert (text, call) == (("text", "Let me see. "), WANT_PARIS)
    assert rest == ("text", '<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>,days:1}')


def test_a_model_may_say_nothing(client: Client) -> None:
    session = client.create_session().session_id
    answer = ask(client, SILENT, session=session)
    assert list(answer.content.parts) == []
    assert (answer.finish_reason, answer.usage.output_tokens) == (FINISH_REASON_STOP, 1)
    assert client.generate("Go on", session=session, max_output_tokens=1).session.turns == 2
    assert client.generate([*SILENT.contents, answer.content, *HELLO.contents], max_output_tokens=1).finish_reason


@pytest.mark.parametrize(("exchange", "stop"), [(ASK, "Paris"), (ASK, "look"), (HELLO, "greeting")])
def test_stop_sequences_are_not_looked_for_in_thoughts_and_calls(client: Client, exchange: Exchange, stop: str) -> None:
    assert said(ask(client, exchange, stop_sequences=[stop]).content) == said(ask(client, exchange).content)


def test_stop_sequences_are_looked_for_in_text(client: Client) -> None:
    answer = ask(client, HELLO, stop_sequences=["greeting", "there"])
    assert said(answer.content) == [("thought", "Hm, a greeting."), ("text", "Hello ")]
