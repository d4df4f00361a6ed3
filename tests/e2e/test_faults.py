"""Processes that are killed: answers go on elsewhere, no slot leaks, and Serve brings everything back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import grpc
import pytest
from psutil import Process

from cluster.client import Client, Piece
from protos.gemmacluster.v1.admin_pb2 import GetLoadsRequest
from protos.gemmacluster.v1.admin_pb2_grpc import AdminServiceStub
from protos.gemmacluster.v1.generation_pb2 import GenerateResponse
from tests.e2e.up_process import a_replica, eventually, kill_replica, running_up
from tests.ports import free_port

CONFIG = """
family: tiny
gateway: {{port: {port}}}
variants:
  e2b: {{engine: echo, echo_delay_ms: 20, replicas: {{min: 2, max: 2, silence_s: 3}}}}
  native: {{checkpoint: "tiny:e2b", cost: 9, max_context_tokens: 2048, replicas: {{min: 2, max: 2}}}}
"""
LONG = "count " * 400
TEXT = {"e2b": LONG, "native": "count " * 20}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of its own, since it is hurt here."""
    with running_up(tmp_path_factory.mktemp("faults"), CONFIG.format(port=free_port())) as process:
        yield process.address


def _text(variant: str, number: int) -> str:
    """Each begins in its own way: those that begin alike would all go to the same replica."""
    return f"{number} {TEXT[variant]}"


def _answers(address: str) -> bool:
    with Client(address, timeout_s=5) as client:
        return client.generate("one two", max_output_tokens=2).usage.output_tokens == 2


def _is_free(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        loads = AdminServiceStub(channel).GetLoads(GetLoadsRequest(), timeout=5).loads
    return len(loads) == 4 and not any(load.running_requests for load in loads)


def _hurt_under(
    address: str, variant: str, asked: list[dict[str, Any]], hurt: Callable[[Process], None]
) -> list[list[Piece]]:
    """The streams of all requests, one of the variant's replicas hurt once all of them have begun."""
    have_begun, is_hurt = Barrier(len(asked) + 1), Barrier(len(asked) + 1)

    def read(number: int, options: dict[str, Any]) -> list[Piece]:
        with Client(address, timeout_s=120) as client:
            stream = client.stream(_text(variant, number), model=variant, **options)
            first = next(stream)
            have_begun.wait(60)
            is_hurt.wait(60)
            return [first, *stream]

    with ThreadPoolExecutor(len(asked)) as pool:
        reading = [pool.submit(read, number, options) for number, options in enumerate(asked)]
        have_begun.wait(60)
        hurt(a_replica(variant, address))
        is_hurt.wait(60)
        return [item.result() for item in reading]


JSON = {"json_object": {}}
ASKED: dict[str, list[dict[str, Any]]] = {
    "e2b": [{"max_output_tokens": 150, "stop_sequences": stop} for stop in ([], ["count \0"], []) for _ in range(4)],
    "native": [
        *({"max_output_tokens": 150, "temperature": 0.0} for _ in range(3)),
        *({"max_output_tokens": 150, "seed": seed, "presence_penalty": 0.5, "logprobs": 1} for seed in range(3)),
        *({"max_output_tokens": 150, "seed": seed, "response_format": JSON} for seed in range(2)),
    ],
}


@pytest.mark.parametrize("variant", ASKED)
def test_streams_of_a_killed_replica_go_on_as_if_nothing_had_been(address: str, variant: str) -> None:
    expected = _undisturbed(address, variant)
    streams = _hurt_under(address, variant, ASKED[variant], Process.kill)
    _check(streams, expected)
    eventually(lambda: _is_free(address))


def test_streams_of_a_replica_that_vanishes_go_on_too(address: str) -> None:
    """Stopped, it closes no connection, as if its node had lost power; it lives again, and is used again."""
    expected, stopped = _undisturbed(address, "e2b"), []

    def stop(process: Process) -> None:
        process.suspend()
        stopped.append(process)

    try:
        _check(_hurt_under(address, "e2b", ASKED["e2b"], stop), expected)
    finally:
        stopped[0].resume()
    eventually(lambda: _is_free(address))


def _undisturbed(address: str, variant: str) -> list[GenerateResponse]:
    """The answers to ASKED."""
    with Client(address, timeout_s=120) as client:
        return [
            client.generate(_text(variant, number), model=variant, **options)
            for number, options in enumerate(ASKED[variant])
        ]


def _check(streams: list[list[Piece]], expected: list[GenerateResponse]) -> None:
    """They are the same, and some have moved."""
    for stream, whole in zip(streams, expected, strict=True):
        assert "".join(piece.text for piece in stream) == "".join(part.text for part in whole.content.parts)
        assert [piece.response.chunk_index for piece in stream] == list(range(len(stream)))
        assert stream[-1].response.finish_reason == whole.finish_reason
        assert stream[-1].response.usage.output_tokens == whole.usage.output_tokens
        logged = [report.chosen.token_id for piece in stream for report in piece.response.logprobs]
        assert logged == [report.chosen.token_id for report in whole.logprobs]
    migrations = [stream[-1].response.usage.migrations for stream in streams]
    assert set(migrations) == {0, 1}, "both replicas had streams, and one of them was hurt"


def test_turns_of_a_session_go_where_their_prefix_is(address: str) -> None:
    with Client(address, timeout_s=120) as client:
        for number in range(6):
            session = client.create_session().session_id
            text = " ".join(str(item * item) for item in range(100 * number, 100 * number + 60))
            first, second = (
                client.generate(turn, model="native", session=session, max_output_tokens=4)
                for turn in (text, "and now?")
            )
            assert second.usage.cached_tokens > first.usage.prompt_tokens / 2, number


def test_a_killed_gateway_frees_the_slots_and_comes_back(address: str) -> None:
    with Client(address, timeout_s=30) as client:
        streams = [client.stream(LONG, max_output_tokens=300) for _ in range(3)]
        for stream in streams:
            next(stream)
        kill_replica("gateway", address)
        with pytest.raises(grpc.RpcError) as caught:
            list(streams[0])
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    eventually(lambda: _answers(address))
    eventually(lambda: _is_free(address), timeout_s=3.0)
