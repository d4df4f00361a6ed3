"""What a turn of a session costs in Redis, counted on the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.client import Client
from cluster.sessions.embedded import EmbeddedValkey
from tests.cluster.conftest import make_config
from tests.cluster.gateway.local_gateway import SMALL, LocalGateway
from tests.cluster.gateway.loop_thread import LoopThread
from tests.relay import Relay

MOST = 2


@pytest.fixture
def relay(gateway_valkey: EmbeddedValkey) -> Iterator[Relay]:
    """Between the gateway and its Valkey."""
    with Relay(gateway_valkey.port) as relay:
        yield relay


@pytest.fixture
def client(relay: Relay, gateway_valkey: EmbeddedValkey, gateway_loop: LoopThread) -> Iterator[Client]:
    """Of a gateway that is connected to Redis already."""
    url = gateway_valkey.url.replace(f":{gateway_valkey.port}", f":{relay.port}")
    gateway = LocalGateway(make_config(), gateway_valkey, gateway_loop, url).start()
    with Client(gateway.address, timeout_s=20) as client:
        client.create_session()
        yield client
    gateway.stop(0.1)


def test_a_turn_costs_two_round_trips_whatever_the_history(relay: Relay, client: Client) -> None:
    session = client.create_session().session_id
    for turn in range(12):
        before = relay.round_trips
        answer = client.generate(f"{turn} " + "word " * 40 * turn, model=SMALL, session=session, max_output_tokens=4)
        assert answer.session.turns == turn + 1
        assert relay.round_trips - before <= MOST, f"turn {turn}"


def test_a_call_without_a_session_costs_none(relay: Relay, client: Client) -> None:
    before = relay.round_trips
    client.generate("hello", model=SMALL, max_output_tokens=4)
    assert relay.round_trips == before
