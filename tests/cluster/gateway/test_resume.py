"""Answers that outlive listeners and gateways, and requests that come twice: over two gateways and Valkey."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
import redis

from cluster.client import Client, request
from cluster.config import AnswersConfig
from cluster.engines.base import EngineOutput
from cluster.errors import (
    AlreadyExists,
    InvalidRequest,
    NotFound,
    NotResumable,
    OutOfRange,
    Overloaded,
    Unavailable,
)
from cluster.sessions.embedded import EmbeddedValkey
from protos.gemmacluster.v1.generation_pb2 import GenerateRequest, StreamGenerateRequest, StreamGenerateResponse
from tests.cluster.conftest import MakeGateway, make_config
from tests.cluster.gateway.hooked_engine import fail_at
from tests.cluster.gateway.local_gateway import SMALL, LocalGateway
from tests.cluster.gateway.loop_thread import LoopThread

pytestmark = pytest.mark.usefixtures("bursts_in_pieces")

WORDS = "one two naïve 日本語 😀 three. four five six seven eight"
Facts = list[tuple[int, str]]


class Gate:
    """A hook: outputs from that index on wait until it opens."""

    def __init__(self, index: int) -> None:
        self._index = index
        self.is_open = False

    async def __call__(self, at: int, output: EngineOutput) -> None:
        while at >= self._index and not self.is_open:
            await asyncio.sleep(0.002)


class Pair:
    """Two gateways over one Valkey, a client of each, and the whole answer to `WORDS` as nobody disturbed it."""

    def __init__(self, first: LocalGateway, second: LocalGateway) -> None:
        self.gateways = (first, second)
        self.clients = tuple(Client(gateway.address, timeout_s=10) for gateway in self.gateways)
        self.whole = _facts(_messages(self.clients[0], _asked(request_id="", resumable=False)))
        first.engine().requests.clear()

    @property
    def num_made(self) -> int:
        """Answers, or rests of answers, that engines were asked for."""
        return sum(len(gateway.engine().requests) for gateway in self.gateways)

    def hook(self, hook: Any) -> Any:
        """Sets it for both engines."""
        for gateway in self.gateways:
            gateway.engine().hook = hook
        return hook


MakePair = Callable[..., Pair]


@pytest.fixture
def make_pair(make_gateway: MakeGateway) -> Iterator[MakePair]:
    """`make_pair(grace_s=0.2)`: keywords are AnswersConfig's."""
    made: list[Pair] = []

    def make(**options: Any) -> Pair:
        answers = AnswersConfig(**{"lease_s": 60, "grace_s": 20, **options})
        # Redis may be slow where the tests have little of a CPU.
        made.append(Pair(*(make_gateway(answers=answers, redis_timeout_s=5) for _ in range(2))))
        return made[-1]

    yield make
    for pair in made:
        pair.hook(None)
        for client in pair.clients:
            client.close()


@pytest.fixture
def pair(make_pair: MakePair) -> Pair:
    """With the defaults."""
    return make_pair()


def _asked(request_id: str | None = None, resumable: bool = True, **options: Any) -> GenerateRequest:
    request_id = str(uuid.uuid4()) if request_id is None else request_id
    return request(WORDS, **{"model": SMALL, "request_id": request_id, "resumable": resumable, **options})


def _messages(client: Client, asked: GenerateRequest) -> list[StreamGenerateResponse]:
    return list(client.raw_stream(StreamGenerateRequest(request=asked, max_tokens_per_message=1)))


def _facts(messages: list[StreamGenerateResponse]) -> Facts:
    return [(item.chunk_index, "".join(part.text for part in item.content.parts)) for item in messages]


def _rest(client: Client, asked: GenerateRequest, after: int | None) -> list[StreamGenerateResponse]:
    return [piece.response for piece in client.resume(asked.request_id, after)]


def _begin(client: Client, asked: GenerateRequest, count: int) -> Facts:
    """The first messages; then the call is cancelled, which a server cannot tell from a lost connection."""
    stream = client.raw_stream(StreamGenerateRequest(request=asked, max_tokens_per_message=1))
    facts = _facts([next(stream) for _ in range(count)])
    stream.close()
    return facts


def _eventually(check: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not check() and time.monotonic() < deadline:
        time.sleep(0.005)
    return check()


def _kill(gateway: LocalGateway) -> None:
    """As SIGKILL would: its answers stop, nobody writes that they have, and in time their leases run out."""

    async def kill() -> None:
        gateway.answers._writing.cancel()
        for live in list(gateway.answers._live.values()):
            live.stop()

    gateway.loop.run(kill())
    _end_leases(gateway)


def _end_leases(gateway: LocalGateway) -> None:
    with redis.Redis.from_url(gateway.valkey.url) as client:
        client.delete(*client.keys("gemma-cluster:{answer:*}:lease"))


# Coming twice


@pytest.mark.parametrize("resumable", [False, True])
def test_a_request_that_comes_again_gets_the_same_answer(pair: Pair, resumable: bool) -> None:
    asked = _asked(resumable=resumable, temperature=0.0)
    first = _messages(pair.clients[0], asked)
    assert _facts(first) == pair.whole
    for client in pair.clients:
        assert _messages(client, asked) == first
        assert client.raw_generate(asked).usage == first[-1].usage
    assert pair.num_made == 1


@pytest.mark.parametrize("resumable", [False, True])
def test_a_request_that_comes_many_times_at_once_is_answered_once(pair: Pair, resumable: bool) -> None:
    gate, asked = pair.hook(Gate(2)), _asked(resumable=resumable)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(_messages, pair.clients[i % 2], asked) for i in range(6)]
        assert _eventually(lambda: sum(gateway.edge.in_flight for gateway in pair.gateways) == 6)
        gate.is_open = True
        answers = [call.result() for call in calls]
    assert _facts(answers[0]) == pair.whole
    assert all(answer == answers[0] for answer in answers)
    assert pair.num_made == 1


@pytest.mark.parametrize("resumable", [False, True])
def test_a_turn_that_comes_again_is_stored_once(pair: Pair, resumable: bool) -> None:
    session = pair.clients[0].create_session().session_id
    asked = _asked(session=session, resumable=resumable)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(_messages, pair.clients, (asked, asked)))
    answers.append(_messages(pair.clients[1], asked))
    assert all(answer == answers[0] for answer in answers)
    stored = pair.clients[1].get_session(session)
    assert (stored.session.turns, stored.session.etag) == (1, answers[0][-1].session.etag)
    assert len(stored.contents) == 2


def test_another_request_under_a_used_id_is_refused(pair: Pair) -> None:
    asked = _asked()
    _messages(pair.clients[0], asked)
    other = _asked(asked.request_id, max_output_tokens=3)
    for client in pair.clients:
        with pytest.raises(AlreadyExists) as caught:
            _messages(client, other)
        assert caught.value.resource_name == asked.request_id


def test_a_request_that_failed_can_be_sent_again(pair: Pair) -> None:
    asked = _asked()
    pair.hook(fail_at(3, Overloaded("full", retry_after_s=2.5)))
    with pytest.raises(Overloaded) as caught:
        _messages(pair.clients[0], asked)
    assert caught.value.retry_after_s == 2.5
    assert _eventually(lambda: pair.gateways[0].answers.num_live == 0)
    with pytest.raises(Overloaded):  # what a stream has ended with, it goes on to end with
        _rest(pair.clients[1], asked, 1)
    pair.hook(None)
    assert _facts(_messages(pair.clients[1], asked)) == pair.whole


# Nobody listens


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("count", [1, 4])
def test_an_answer_goes_on_without_listeners_and_its_rest_is_there(pair: Pair, at: int, count: int) -> None:
    gate, asked = pair.hook(Gate(count + 2)), _asked()
    seen = _begin(pair.clients[0], asked, count)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        rest = pool.submit(_rest, pair.clients[at], asked, count - 1)
        time.sleep(0.05)
        gate.is_open = True
        assert seen + _facts(rest.result()) == pair.whole
    assert _facts(_rest(pair.clients[1 - at], asked, None)) == pair.whole
    assert _rest(pair.clients[at], asked, len(pair.whole) - 1) == []
    assert pair.num_made == 1


def test_an_answer_nobody_takes_up_is_stopped_after_its_grace(make_pair: MakePair) -> None:
    pair = make_pair(grace_s=0.5)
    pair.hook(Gate(5))
    asked = _asked()
    seen = _begin(pair.clients[0], asked, 2)
    assert pair.gateways[0].engine().load().running == 1
    assert pair.gateways[0].becomes_idle()
    pair.hook(None)
    assert seen + _facts(_rest(pair.clients[1], asked, 1)) == pair.whole
    assert pair.gateways[1].engine().requests[0].answered_token_ids  # it went on, instead of beginning anew


def test_who_comes_back_in_time_keeps_an_answer_from_being_stopped(make_pair: MakePair) -> None:
    pair = make_pair(grace_s=0.5)
    gate, asked = pair.hook(Gate(5)), _asked()
    _begin(pair.clients[0], asked, 2)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        rest = pool.submit(_rest, pair.clients[0], asked, 1)
        time.sleep(0.7)
        gate.is_open = True
        assert _facts(rest.result()) == pair.whole[2:]
    assert pair.num_made == 1


@pytest.mark.parametrize("request_id", ["", None])
def test_an_answer_that_is_not_resumable_ends_with_its_last_listener(pair: Pair, request_id: str | None) -> None:
    pair.hook(Gate(5))
    _begin(pair.clients[0], _asked(request_id, resumable=False), 2)
    assert pair.gateways[0].becomes_idle(1.0)


def test_what_was_cancelled_goes_on_when_it_is_sent_again(pair: Pair) -> None:
    pair.hook(Gate(5))
    asked = _asked(resumable=False)
    _begin(pair.clients[0], asked, 2)
    assert pair.gateways[0].becomes_idle(1.0)
    pair.hook(None)
    assert _facts(_messages(pair.clients[1], asked)) == pair.whole


# The gateway is gone


@pytest.mark.parametrize("count", [1, 5])
def test_another_gateway_goes_on_with_the_answer_of_one_that_died(pair: Pair, count: int) -> None:
    pair.hook(Gate(count))
    session = pair.clients[0].create_session().session_id
    asked = _asked(session=session)
    seen = _begin(pair.clients[0], asked, count)
    _kill(pair.gateways[0])
    pair.hook(None)
    rest = _rest(pair.clients[1], asked, count - 1)
    assert seen + _facts(rest) == pair.whole
    assert rest[-1].usage.migrations == 1
    stored = pair.clients[1].get_session(session)
    assert (stored.session.turns, stored.session.etag) == (1, rest[-1].session.etag)
    assert stored.contents[1].parts[0].text == "".join(text for _, text in pair.whole)
    assert len(pair.gateways[1].engine().requests) == 1


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_turn_is_stored_once_when_a_gateway_dies_beside_it(
    pair: Pair, is_stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair.gateways
    session = pair.clients[0].create_session().session_id
    append, reached = first.sessions.append_turn, []

    async def dying(*arguments: Any, **options: Any) -> None:
        if is_stored:
            await append(*arguments, **options)
        reached.append(True)
        await asyncio.Event().wait()

    monkeypatch.setattr(first.sessions, "append_turn", dying)
    asked = _asked(session=session)
    seen = _begin(pair.clients[0], asked, len(pair.whole) - 1)
    assert _eventually(lambda: bool(reached))
    assert pair.clients[1].get_session(session).session.turns == int(is_stored)
    _kill(first)
    rest = _rest(pair.clients[1], asked, len(seen) - 1)
    assert seen + _facts(rest) == pair.whole
    assert rest[-1].session.turns == 1
    assert second.engine().requests == []
    assert pair.clients[1].get_session(session).session.turns == 1


def test_a_gateway_that_comes_back_too_late_lets_go(make_pair: MakePair) -> None:
    """It hung for longer than its lease; meanwhile another went on."""
    pair = make_pair(lease_s=1)
    pair.hook(Gate(3))
    first, asked = pair.gateways[0], _asked()
    stream = pair.clients[0].raw_stream(StreamGenerateRequest(request=asked, max_tokens_per_message=1))
    seen = [next(stream) for _ in range(3)]
    first.loop.run(_pause_writing(first))
    _end_leases(first)
    pair.gateways[1].engine().hook = None
    assert _facts(seen) + _facts(_rest(pair.clients[1], asked, 2)) == pair.whole
    first.loop.run(_go_on_writing(first))
    with pytest.raises(Unavailable, match="another gateway"):
        next(stream)
    assert first.becomes_idle()


async def _pause_writing(gateway: LocalGateway) -> None:
    gateway.answers._writing.cancel()


async def _go_on_writing(gateway: LocalGateway) -> None:
    gateway.answers.start()


def test_a_gateway_that_shuts_down_leaves_its_answers_to_the_others_at_once(pair: Pair) -> None:
    pair.hook(Gate(4))
    asked = _asked()
    seen = _begin(pair.clients[0], asked, 3)
    pair.gateways[0].stop(0.1)
    pair.hook(None)
    assert seen + _facts(_rest(pair.clients[1], asked, 2)) == pair.whole


# Redis is gone


@pytest.mark.parametrize("resumable", [False, True])
def test_an_answer_goes_on_when_redis_goes(gateway_loop: LoopThread, resumable: bool) -> None:
    """It can no longer be taken up elsewhere; whoever listens gets all of it."""
    with EmbeddedValkey() as valkey:
        gateway = LocalGateway(make_config(redis_timeout_s=1), valkey, gateway_loop).start()
        with Client(gateway.address, timeout_s=20) as client:
            gate = gateway.engine().hook = Gate(3)
            asked = StreamGenerateRequest(request=_asked(resumable=resumable), max_tokens_per_message=1)
            stream = client.raw_stream(asked)
            messages = [next(stream)]
            valkey.stop()
            gate.is_open = True
            messages += stream
            assert [index for index, _ in _facts(messages)] == list(range(len(messages)))
            assert WORDS in "".join(text for _, text in _facts(messages))
            assert messages[-1].HasField("usage")
            with pytest.raises(Unavailable, match="requests without a request_id"):
                client.raw_generate(_asked())
            assert client.generate(WORDS, model=SMALL).content.parts
        gateway.stop()


# Errors


def test_what_cannot_be_taken_up_says_why(pair: Pair) -> None:
    client, asked, plain = pair.clients[0], _asked(), _asked(resumable=False)
    _messages(client, asked)
    _messages(client, plain)
    with pytest.raises(NotFound) as missing:
        list(client.resume("never-was"))
    assert missing.value.resource_name == "never-was"
    with pytest.raises(OutOfRange, match=f"has {len(pair.whole)} messages"):
        _rest(client, asked, len(pair.whole))
    with pytest.raises(InvalidRequest):
        _rest(client, asked, -1)
    with pytest.raises(InvalidRequest):
        list(client.resume("no id"))
    with pytest.raises(NotResumable):
        _rest(client, plain, 0)
    with pytest.raises(InvalidRequest) as nameless:
        _messages(client, _asked(request_id=""))
    assert [item.field for item in nameless.value.violations] == ["resumable"]


def test_an_answer_belongs_to_the_caller_who_asked_for_it(pair: Pair) -> None:
    asked, address = _asked(), pair.gateways[1].address
    with Client(address, caller="ada") as ada, Client(address, caller="bob") as bob:
        _messages(ada, asked)
        for stranger in (bob, pair.clients[1]):
            with pytest.raises(NotFound):
                _rest(stranger, asked, 1)
        other = _asked(asked.request_id, max_output_tokens=2)
        assert _messages(bob, other)[-1].usage.output_tokens == 2  # the id is free in bob's name
        assert _facts(_rest(ada, asked, 1)) == pair.whole[2:]


def test_an_index_beyond_a_running_answer_is_refused_at_once(pair: Pair) -> None:
    pair.hook(Gate(3))
    asked = _asked()
    _begin(pair.clients[0], asked, 3)
    for client in pair.clients:
        with pytest.raises(OutOfRange):
            _rest(client, asked, 3)


def test_an_answer_is_forgotten_when_its_time_is_over(make_pair: MakePair) -> None:
    pair = make_pair(keep_s=1)
    asked = _asked()
    _messages(pair.clients[0], asked)
    time.sleep(1.1)
    with pytest.raises(NotFound):
        _rest(pair.clients[1], asked, 0)


def test_a_call_can_be_cancelled_while_it_follows_another_gateway(pair: Pair) -> None:
    pair.hook(Gate(2))
    asked = _asked()
    _begin(pair.clients[0], asked, 2)
    with Client(pair.gateways[1].address, timeout_s=0.3) as hasty, pytest.raises(grpc.RpcError) as caught:
        _rest(hasty, asked, 1)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert _eventually(lambda: pair.gateways[1].edge.in_flight == 0)
