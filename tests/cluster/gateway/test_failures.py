"""Faults on the way of a request: each a precise status, nothing stored by halves, nothing left behind."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from cluster.client import Client, Piece
from cluster.engines.base import EngineOutput
from cluster.errors import (
    AlreadyExists,
    ClusterError,
    InvalidRequest,
    NotFound,
    NotSupported,
    NoVariant,
    Overloaded,
    SessionConflict,
    Unavailable,
)
from tests.cluster.gateway.hooked_engine import EndEarly, Hook, fail_at, never
from tests.cluster.gateway.local_gateway import SMALL, LocalGateway

RESOURCE = {"resource_type": "Thing", "resource_name": "this"}
ERRORS = [
    ClusterError("broken"),
    InvalidRequest.of("field", "bad"),
    NotFound("gone", **RESOURCE),
    AlreadyExists("there", **RESOURCE),
    NoVariant("none", [("LOAD", "e2b", "busy")]),
    SessionConflict("lost the race", **RESOURCE),
    Overloaded("full", retry_after_s=2.5),
    Unavailable("away", retry_after_s=0.25),
    NotSupported("later"),
]
WORDS = "one two three four five six"


def _stream_until_error(client: Client, **options: object) -> tuple[list[Piece], ClusterError]:
    pieces: list[Piece] = []
    with pytest.raises(ClusterError) as caught:
        # Not list(): it would lose what came before the error.
        pieces.extend(client.stream(WORDS, model=SMALL, **options))
    return pieces, caught.value


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_replicas_error_reaches_the_client_whole(client: Client, gateway: LocalGateway, error: ClusterError) -> None:
    whole = client.generate(WORDS, model=SMALL).content.parts[0].text
    gateway.engine().hook = fail_at(3, error)
    pieces, caught = _stream_until_error(client)
    assert pieces
    assert whole.startswith("".join(piece.text for piece in pieces))
    assert type(caught) is type(error)
    assert caught.to_status() == error.to_status()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_before_the_first_token_is_the_same(
    client: Client, gateway: LocalGateway, error: ClusterError
) -> None:
    gateway.engine().hook = fail_at(0, error)
    with pytest.raises(type(error)) as caught:
        client.generate(WORDS, model=SMALL)
    assert caught.value.to_status() == error.to_status()


@pytest.mark.parametrize("index", [0, 3])
def test_an_unexpected_error_is_internal_and_tells_nothing(
    client: Client, gateway: LocalGateway, caplog: pytest.LogCaptureFixture, index: int
) -> None:
    gateway.engine().hook = fail_at(index, ZeroDivisionError("secret path /etc/shadow"))
    with caplog.at_level(logging.ERROR):
        _, error = _stream_until_error(client)
    assert error.code == grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.to_status())
    assert "Traceback" not in str(error.to_status())
    assert "secret" in caplog.text


def test_an_answer_that_ends_without_its_result_is_an_error(client: Client, gateway: LocalGateway) -> None:
    gateway.engine().hook = fail_at(3, EndEarly())
    session = client.create_session()
    pieces, error = _stream_until_error(client, session=session.session_id)
    assert isinstance(error, Unavailable)
    assert pieces
    assert client.get_session(session.session_id).session.turns == 0


def test_a_failed_answer_stores_no_turn(client: Client, gateway: LocalGateway) -> None:
    gateway.engine().hook = fail_at(3, Unavailable("gone"))
    session = client.create_session()
    _stream_until_error(client, session=session.session_id)
    stored = client.get_session(session.session_id)
    assert (stored.session.etag, stored.session.turns, len(stored.contents)) == (session.etag, 0, 0)


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_replica_that_never_answers_ends_with_the_deadline(gateway: LocalGateway, is_streamed: bool) -> None:
    gateway.engine().hook = never
    with Client(gateway.address, timeout_s=0.2) as client, pytest.raises(grpc.RpcError) as caught:
        list(client.stream(WORDS, model=SMALL)) if is_streamed else client.generate(WORDS, model=SMALL)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert gateway.becomes_idle()


def _from(index: int) -> Hook:
    """Lets that many outputs through, then no more."""

    async def hook(at: int, output: EngineOutput) -> None:
        if at >= index:
            await never(at, output)

    return hook


@pytest.mark.parametrize("let_through", [1, 3])
def test_closing_a_stream_frees_the_slot(client: Client, gateway: LocalGateway, let_through: int) -> None:
    gateway.engine().hook = _from(let_through)
    stream = client.stream(WORDS, model=SMALL)
    next(stream)
    assert gateway.busy()
    stream.close()
    assert gateway.becomes_idle()


def test_closing_a_stream_before_its_first_message_frees_the_slot(gateway: LocalGateway) -> None:
    gateway.engine().hook = never
    client = Client(gateway.address)
    pool = concurrent.futures.ThreadPoolExecutor(4)
    calls = [pool.submit(client.generate, WORDS, model=SMALL) for _ in range(4)]
    while gateway.engine().load().running < 4:
        time.sleep(0.005)
    client.close()
    assert gateway.becomes_idle()
    assert all(isinstance(call.exception(), (grpc.RpcError, ValueError)) for call in calls)
    pool.shutdown()


def test_a_cancelled_turn_is_not_stored(client: Client, gateway: LocalGateway) -> None:
    gateway.engine().hook = _from(2)
    session = client.create_session()
    stream = client.stream(WORDS, model=SMALL, session=session.session_id)
    next(stream)
    stream.close()
    assert gateway.becomes_idle()
    assert client.get_session(session.session_id).session.turns == 0


def test_of_two_turns_at_once_one_wins_and_the_other_is_aborted(client: Client, gateway: LocalGateway) -> None:
    both_run = threading.Barrier(2, timeout=10)

    async def hook(at: int, output: EngineOutput) -> None:
        if at == 0:
            await asyncio.to_thread(both_run.wait)

    gateway.engine().hook = hook
    session = client.create_session()

    def turn(text: str) -> str | None:
        try:
            client.generate(text, model=SMALL, session=session.session_id)
        except SessionConflict:
            return None
        return text

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        won = [text for text in pool.map(turn, ["left left", "right right"]) if text]
    stored = client.get_session(session.session_id)
    assert stored.session.turns == len(won) == 1
    assert stored.contents[0].parts[0].text == won[0]
    assert won[0] in stored.contents[1].parts[0].text


def test_a_turn_that_was_overtaken_is_aborted_and_not_stored(client: Client, gateway: LocalGateway) -> None:
    release = threading.Event()

    async def hook(at: int, output: EngineOutput) -> None:
        if at:
            await asyncio.to_thread(release.wait, 10)

    gateway.engine().hook = hook
    session = client.create_session()
    slow = client.stream("the slow one", model=SMALL, session=session.session_id)
    next(slow)
    gateway.engine().hook = None
    client.generate("the fast one", model=SMALL, session=session.session_id)
    release.set()
    with pytest.raises(SessionConflict):
        list(slow)
    stored = client.get_session(session.session_id)
    assert stored.session.turns == 1
    assert stored.contents[0].parts[0].text == "the fast one"


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_without_redis_the_last_message_never_leaves(client: Client, gateway: LocalGateway) -> None:
    """What was acknowledged is stored: an answer whose turn cannot be stored has no end."""
    session = client.create_session()

    async def stop_redis_at_the_end(at: int, output: EngineOutput) -> None:
        if output.finish_reason is not None:
            await asyncio.sleep(0.05)
            os.kill(gateway.valkey.pid, signal.SIGSTOP)

    gateway.engine().hook = stop_redis_at_the_end
    try:
        pieces, error = _stream_until_error(client, session=session.session_id)
        gateway.engine().hook = None
        assert client.generate("no session", model=SMALL).content.parts
    finally:
        os.kill(gateway.valkey.pid, signal.SIGCONT)
    assert isinstance(error, Unavailable)
    assert error.retry_after_s > 0
    assert pieces
    responses = [piece.response for piece in pieces]
    assert not any(item.finish_reason or item.HasField("usage") or item.HasField("session") for item in responses)


def test_without_redis_a_session_is_unavailable_before_anything_runs(client: Client, gateway: LocalGateway) -> None:
    session = client.create_session()
    with _stopped(gateway.valkey.pid), pytest.raises(Unavailable):
        client.generate("hi", model=SMALL, session=session.session_id)
    assert gateway.engine().requests == []
    assert client.generate("hi", model=SMALL, session=session.session_id).session.turns == 1
