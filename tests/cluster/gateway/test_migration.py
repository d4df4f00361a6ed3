"""Thoughts, calls and session turns of answers whose replica is lost on the way, through the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from cluster.client import Client, request
from cluster.engines.base import EngineOutput
from cluster.errors import ReplicaLost, Unavailable
from protos.gemmacluster.v1.generation_pb2 import StreamGenerateRequest, StreamGenerateResponse
from tests.cluster.gateway.hooked_engine import fail_at
from tests.cluster.gateway.local_gateway import LocalGateway
from tests.cluster.gateway.test_tool_calls import options_of
from tests.cluster.taught_answers import ASK, BOTH, EXCHANGES, HELLO, Exchange


class Lose:
    """A hook: each replica is lost before its output of that index, as often as told."""

    def __init__(self, index: int, times: int = 1) -> None:
        self._index, self.times = index, times

    async def __call__(self, at: int, output: EngineOutput) -> None:
        if at == self._index and self.times:
            self.times -= 1
            await asyncio.sleep(0.01)  # what came before is on its way first
            raise ReplicaLost("killed")


@pytest.fixture
def client(taught_gateway: LocalGateway) -> Iterator[Client]:
    """Leaves no hook behind."""
    with Client(taught_gateway.address, timeout_s=30) as client:
        yield client
    taught_gateway.engine().hook = None


def _stream(client: Client, exchange: Exchange) -> list[StreamGenerateResponse]:
    wrapped = StreamGenerateRequest(request=request(exchange.contents, **options_of(exchange, logprobs=1)))
    wrapped.request.request_id = "00000000-0000-4000-8000-000000000001"
    wrapped.max_tokens_per_message = 1
    return list(client.raw_stream(wrapped))


def _facts(responses: list[StreamGenerateResponse]) -> list[object]:
    return [
        (item.chunk_index, item.content, item.finish_reason, [report.chosen.token_id for report in item.logprobs])
        for item in responses
    ]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=range(len(EXCHANGES)))
def test_thoughts_and_calls_come_once_and_whole(
    client: Client, taught_gateway: LocalGateway, exchange: Exchange
) -> None:
    taught_gateway.forget()
    whole = _stream(client, exchange)
    for index in {0, len(whole) // 2, len(whole) - 1}:
        taught_gateway.engine().hook = lose = Lose(index)
        taught_gateway.forget()
        found = _stream(client, exchange)
        assert lose.times == 0
        assert _facts(found) == _facts(whole)
        usage, expected = found[-1].usage, whole[-1].usage
        assert usage.migrations == 1
        assert (usage.output_tokens, usage.thought_tokens) == (expected.output_tokens, expected.thought_tokens)


@pytest.mark.parametrize("exchange", [HELLO, ASK, BOTH])
def test_a_session_gets_the_whole_turn_once(client: Client, taught_gateway: LocalGateway, exchange: Exchange) -> None:
    stored = []
    for hook in (None, Lose(4, times=2)):
        taught_gateway.engine().hook = hook
        session = client.create_session().session_id
        answer = client.generate(exchange.contents, session=session, **options_of(exchange))
        assert (answer.session.turns, answer.usage.migrations) == (1, 2 if hook else 0)
        stored.append(client.get_session(session).contents)
        assert stored[-1][-1] == answer.content
    plain = [[(p.text, p.thought, p.function_call.name, p.function_call.args) for p in c[-1].parts] for c in stored]
    assert plain[0] == plain[1]


def test_too_many_losses_store_nothing(client: Client, taught_gateway: LocalGateway) -> None:
    taught_gateway.engine().hook = fail_at(1, ReplicaLost("killed"))
    session = client.create_session().session_id
    with pytest.raises(Unavailable) as caught:
        client.generate(HELLO.contents, session=session, **options_of(HELLO))
    assert caught.value.retry_after_s > 0
    taught_gateway.engine().hook = None
    assert client.get_session(session).session.turns == 0
    assert taught_gateway.becomes_idle()
