"""Generating over gRPC: text, streams, sessions, seeds."""

from __future__ import annotations

import pytest

from cluster.client import Client
from protos.gemmacluster.v1 import generation_pb2

VARIANTS = ["e2b", "e4b", "26b-a4b", "31b"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_answers(client: Client, variant: str) -> None:
    answer = client.generate("Hello there", model=variant, max_output_tokens=12, temperature=0)
    assert answer.routing.variant == variant
    assert 1 <= answer.usage.output_tokens <= 12
    assert answer.usage.prompt_tokens > 3
    assert answer.finish_reason in (
        generation_pb2.FINISH_REASON_STOP,
        generation_pb2.FINISH_REASON_MAX_TOKENS,
    )
    assert answer.content.parts[0].text


@pytest.mark.parametrize("variant", [*VARIANTS, "echo"])
def test_stream_and_unary_give_the_same_answer(client: Client, variant: str) -> None:
    options = {"model": variant, "max_output_tokens": 24, "temperature": 0}
    pieces = list(client.stream("One two three four five six seven eight", **options))
    whole = client.generate("One two three four five six seven eight", **options)
    assert "".join(piece.text for piece in pieces) == whole.content.parts[0].text
    assert [piece.response.chunk_index for piece in pieces] == list(range(len(pieces)))
    assert [piece.response.HasField("routing") for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [piece.response.HasField("usage") for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].response.usage.output_tokens == whole.usage.output_tokens
    assert pieces[-1].response.finish_reason == whole.finish_reason


def test_same_seed_same_tokens(client: Client) -> None:
    options = {"model": "e4b", "max_output_tokens": 24, "temperature": 1.2}
    first, second, other = (client.generate("Tell me", seed=seed, **options) for seed in (7, 7, 8))
    assert first.content == second.content
    assert first.content != other.content


def test_the_next_turn_of_a_session_computes_only_what_is_new(client: Client) -> None:
    session = client.create_session().session_id
    options = {"model": "e2b", "session": session, "max_output_tokens": 4, "temperature": 0}
    first = client.generate("Remember these: " + " ".join(map(str, range(200))), **options)
    pieces = list(client.stream("And now?", **options))
    start, end = pieces[0].response.routing, pieces[-1].response.usage
    assert start.cached_tokens == end.cached_tokens > 0.9 * first.usage.prompt_tokens
    assert (first.routing.cached_tokens, first.usage.cached_tokens) == (0, 0)


def test_a_session_gives_the_model_what_was_said_before(client: Client) -> None:
    session = client.create_session()
    first = client.generate("my colour is teal", model="echo", session=session.session_id)
    second = client.generate("what is it", model="echo", session=session.session_id)
    assert (first.session.turns, second.session.turns) == (1, 2)
    assert "teal" in second.content.parts[0].text
    stored = client.get_session(session.session_id)
    assert [content.parts[0].text for content in stored.contents] == [
        "my colour is teal",
        first.content.parts[0].text,
        "what is it",
        second.content.parts[0].text,
    ]
    assert stored.session.etag == second.session.etag
    assert stored.session.variant_pin == "echo"


def test_a_stored_turn_is_what_was_streamed(client: Client) -> None:
    session = client.create_session(system="Be brief.")
    pieces = list(client.stream("hello", model="e2b", session=session.session_id, max_output_tokens=20))
    stored = client.get_session(session.session_id).contents[-1]
    assert stored.parts[0].text == "".join(piece.text for piece in pieces)


def test_stop_sequences_end_the_answer_before_them(client: Client) -> None:
    prompt = "alpha beta gamma delta epsilon"
    free = client.generate(prompt, model="e2b", max_output_tokens=40, temperature=0).content.parts[0].text
    stop = free[len(free) // 2 :][:3]
    answer = client.generate(prompt, model="e2b", max_output_tokens=40, temperature=0, stop_sequences=[stop])
    assert answer.content.parts[0].text == free[: free.index(stop)]
    assert answer.finish_reason == generation_pb2.FINISH_REASON_STOP


def test_one_token_per_message_when_asked(client: Client) -> None:
    request = generation_pb2.StreamGenerateRequest(max_tokens_per_message=1)
    request.request.model = "echo"
    request.request.contents.add().parts.add(text="a b c d e f g h")
    request.request.generation_config.max_output_tokens = 6
    responses = list(client.raw_stream(request))
    assert len(responses) == 6


def test_count_tokens_agrees_with_usage(client: Client) -> None:
    counted = client.count_tokens("How many tokens is this?", model="e2b")
    answer = client.generate("How many tokens is this?", model="e2b", max_output_tokens=1)
    assert counted.total_tokens == answer.usage.prompt_tokens
    assert counted.tokens_by_modality == answer.usage.prompt_tokens_by_modality
