"""Cancellation, deadlines, full queues and races: no slot leaks, no call hangs, no turn is mixed."""

from __future__ import annotations

import concurrent.futures
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import grpc
import pytest

from cluster.client import Client
from cluster.errors import Overloaded, SessionConflict, Unavailable
from protos.gemmacluster.v1.admin_pb2 import GetLoadsRequest
from protos.gemmacluster.v1.admin_pb2_grpc import AdminServiceStub
from tests.e2e.conftest import RunningCluster

LONG = "count " * 300


def _running(cluster: RunningCluster, variant: str) -> int:
    with grpc.insecure_channel(cluster.address) as channel:
        loads = AdminServiceStub(channel).GetLoads(GetLoadsRequest(variant=variant), timeout=10).loads
    assert len(loads) == 1
    return int(loads[0].running_requests + loads[0].waiting_requests)


def _wait_until_free(cluster: RunningCluster, variant: str, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while (running := _running(cluster, variant)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running == 0, f"{running} requests are still on the engine of {variant}"


@pytest.mark.parametrize("variant", ["e2b", "echo"])
def test_cancelling_frees_the_slot(cluster: RunningCluster, client: Client, variant: str) -> None:
    for _ in range(10):
        stream = client.stream(LONG, model=variant, max_output_tokens=1000)
        next(stream)
        stream.close()
    _wait_until_free(cluster, variant)


@pytest.mark.parametrize("variant", ["e2b", "echo"])
def test_cancelling_at_any_moment_frees_the_slot(cluster: RunningCluster, variant: str) -> None:
    moments = random.Random(0)
    for _ in range(40):
        with Client(cluster.address, timeout_s=moments.uniform(0.001, 0.06)) as client, suppress(grpc.RpcError):
            list(client.stream(LONG, model=variant, max_output_tokens=500))
    _wait_until_free(cluster, variant)


@pytest.mark.parametrize("variant", ["e2b", "echo"])
def test_a_passed_deadline_frees_the_slot(cluster: RunningCluster, variant: str) -> None:
    with Client(cluster.address, timeout_s=0.3) as client, pytest.raises(grpc.RpcError) as caught:
        client.generate(LONG, model=variant, max_output_tokens=1000)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    _wait_until_free(cluster, variant)


def test_a_client_that_vanishes_frees_the_slot(cluster: RunningCluster) -> None:
    client = Client(cluster.address)
    streams = [client.stream(LONG, model="echo", max_output_tokens=1000) for _ in range(3)]
    for stream in streams:
        next(stream)
    client.close()
    _wait_until_free(cluster, "echo")


def test_a_full_queue_is_refused_with_a_retry_time_and_drains(cluster: RunningCluster, client: Client) -> None:
    def one(_: int) -> str:
        try:
            return client.generate("a b c d " * 20, model="echo", max_output_tokens=60).routing.variant
        except Overloaded as error:
            return "overloaded" if error.retry_after_s > 0 else "no retry time"

    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        outcomes = list(pool.map(one, range(30)))
    assert set(outcomes) == {"echo", "overloaded"}
    _wait_until_free(cluster, "echo")
    assert client.generate("still here", model="echo").content.parts[0].text


def test_of_two_turns_at_once_one_wins_and_the_other_is_aborted(client: Client) -> None:
    for _ in range(5):
        session = client.create_session()

        def turn(text: str, session_id: str = session.session_id) -> str | None:
            try:
                client.generate(text, model="echo", session=session_id)
            except SessionConflict:
                return None
            return text

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            won = [text for text in pool.map(turn, ["left left left", "right right right"]) if text]
        stored = client.get_session(session.session_id)
        assert len(won) in (1, 2)
        assert stored.session.turns == len(won)
        said = [content.parts[0].text for content in stored.contents[::2]]
        assert sorted(said) == sorted(won)
        assert all(said[-1].split()[0] in content.parts[0].text for content in stored.contents[-2:])


def test_a_turn_on_an_old_etag_is_aborted(client: Client) -> None:
    from cluster.client import request

    session = client.create_session()
    client.generate("first", model="echo", session=session.session_id)
    late = request("second", model="echo", session=session.session_id)
    late.session_etag = session.etag
    with pytest.raises(SessionConflict):
        client.raw_generate(late)


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_without_redis_sessions_are_unavailable_and_all_else_goes_on(cluster: RunningCluster, client: Client) -> None:
    session = client.create_session()
    client.generate("remember teal", model="echo", session=session.session_id)
    with _stopped(cluster.valkey.pid):
        started = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            client.generate("hi", model="echo", session=session.session_id)
        assert caught.value.retry_after_s > 0
        assert time.monotonic() - started < 10
        assert client.generate("no session", model="echo").content.parts[0].text
    answer = client.generate("what was it", model="echo", session=session.session_id)
    assert "teal" in answer.content.parts[0].text
    _wait_until_free(cluster, "echo")
