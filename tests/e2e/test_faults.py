"""Processes that are killed: callers get UNAVAILABLE, no slot leaks, and Serve brings everything back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from cluster.client import Client
from cluster.errors import Unavailable
from protos.gemmacluster.v1.admin_pb2 import GetLoadsRequest
from protos.gemmacluster.v1.admin_pb2_grpc import AdminServiceStub
from tests.e2e.up_process import UpProcess, eventually, kill_replica
from tests.ports import free_port

CONFIG = """
family: tiny
gateway: {{port: {port}}}
variants:
  e2b: {{engine: echo, echo_delay_ms: 100}}
"""
LONG = "count " * 400


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of its own, since it is hurt here."""
    config: Path = tmp_path_factory.mktemp("faults") / "config.yaml"
    config.write_text(CONFIG.format(port=free_port()))
    process = UpProcess(["--config", str(config)], {"REDIS_URL": ""})
    try:
        yield process.wait_until_ready()
        assert process.stop() == 0
        assert process.survivors() == []
    finally:
        process.kill()


def _answers(address: str) -> bool:
    with Client(address, timeout_s=5) as client:
        return client.generate("one two", max_output_tokens=2).usage.output_tokens == 2


def _is_free(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        loads = AdminServiceStub(channel).GetLoads(GetLoadsRequest(), timeout=5).loads
    return [load.running_requests for load in loads] == [0]


def test_a_killed_replica_is_unavailable_to_its_stream_and_comes_back(address: str) -> None:
    with Client(address, timeout_s=30) as client:
        stream = client.stream(LONG, max_output_tokens=300)
        next(stream)
        kill_replica("e2b", address)
        with pytest.raises(Unavailable) as caught:
            list(stream)
        assert caught.value.retry_after_s > 0
    eventually(lambda: _answers(address))


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
