"""A gateway is killed in the middle of an answer, on real Ray: another goes on with it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from cluster.client import Client, Piece
from cluster.errors import ClusterError
from cluster.sessions.embedded import EmbeddedValkey
from tests.e2e.some_nodes import some_nodes
from tests.e2e.up_process import eventually, running_up
from tests.ports import free_port

WORDS = " ".join(f"w{n}" for n in range(150))
CONFIG = """
gateway: {{port: {port}, replicas: 2}}
sessions: {{redis_url: "{redis}"}}
answers: {{lease_s: 2}}
variants:
  echo: {{checkpoint: "tiny:e2b", engine: echo, echo_delay_ms: 10, replicas: {{min: 2, max: 2}}}}
"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Two gateways on one port of different Ray nodes: whichever the kernel picks takes a connection."""
    with some_nodes(3) as nodes, EmbeddedValkey() as valkey:
        config = CONFIG.format(port=free_port(), redis=valkey.url)
        with running_up(tmp_path, config, "--address", nodes.address) as process:
            yield process.address


def _gateways(address: str) -> list[psutil.Process]:
    port = int(address.rpartition(":")[2])
    listening = (item for item in psutil.net_connections("tcp") if item.status == psutil.CONN_LISTEN)
    return [psutil.Process(item.pid) for item in listening if item.laddr.port == port and item.pid]


def _serving(address: str) -> psutil.Process:
    """The gateway that this process is connected to."""
    port = int(address.rpartition(":")[2])
    connections = psutil.Process().net_connections("tcp")
    mine = {item.laddr.port for item in connections if item.raddr and item.raddr.port == port}
    for gateway in _gateways(address):
        theirs = {item.raddr.port for item in gateway.net_connections("tcp") if item.raddr}
        if mine & theirs:
            return gateway
    raise AssertionError("nobody is at the other end")


def test_the_answer_of_a_killed_gateway_goes_on_at_another(address: str) -> None:
    eventually(lambda: len(_gateways(address)) == 2)
    request_id = str(uuid.uuid4())
    with Client(address, timeout_s=60) as client:
        session = client.create_session().session_id
        whole = client.generate(WORDS, max_output_tokens=400).content.parts[0].text
        options = {"session": session, "request_id": request_id, "resumable": True, "max_output_tokens": 400}
        pieces = _until_killed(client.stream(WORDS, **options), address)
    assert 20 <= len(pieces) < 140
    with Client(address, timeout_s=60) as client:
        pieces += _resumed(client, request_id, pieces[-1].response.chunk_index)
        assert "".join(piece.text for piece in pieces) == whole
        assert [piece.response.chunk_index for piece in pieces] == list(range(len(pieces)))
        stored = client.get_session(session)
        assert (stored.session.turns, stored.session.etag) == (1, pieces[-1].response.session.etag)
        assert stored.contents[1].parts[0].text == whole


def _until_killed(stream: Iterator[Piece], address: str) -> list[Piece]:
    """What comes until the connection ends; its gateway is killed after 20 messages."""
    pieces: list[Piece] = []
    try:
        for piece in stream:
            pieces.append(piece)
            if len(pieces) == 20:
                _serving(address).kill()
    except grpc.RpcError:
        return pieces
    raise AssertionError("the whole answer came")


def _resumed(client: Client, request_id: str, after: int) -> list[Piece]:
    """Again, if the connection led to the dying one."""
    for _ in range(20):
        try:
            return list(client.resume(request_id, after))
        except (grpc.RpcError, ClusterError):
            time.sleep(0.5)
    raise AssertionError("never resumed")
