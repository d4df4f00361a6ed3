"""Two gateways and two replicas: an upgrade of every deployment, a SIGTERM and a Drain, and no call is lost to them.

About 40 s on a quiet machine: Serve replaces one replica of a deployment after the other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
import pytest

from cluster.client import Client, Piece
from cluster.sessions.embedded import EmbeddedValkey
from protos.gemmacluster.v1.admin_pb2 import DrainRequest, GetLoadsRequest
from protos.gemmacluster.v1.admin_pb2_grpc import AdminServiceStub
from tests.e2e.some_nodes import ENV, some_nodes
from tests.e2e.up_process import eventually, gateway_processes
from tests.ports import free_port

CONFIG = """
family: tiny
gateway: {{port: {port}, replicas: 2, drain_notice_s: {notice}, drain_grace_s: 30}}
sessions: {{redis_url: "{redis}"}}
variants:
  e2b: {{engine: echo, echo_delay_ms: {delay}, replicas: {{min: 2, max: 2, drain_grace_s: 2}}}}
"""
# As `up` deploys, over what runs already.
DEPLOY = """
import sys, ray
from ray import serve
from cluster.app import APP_NAME, build
from cluster.config import load_config
ray.init(address=sys.argv[1], log_to_driver=False, namespace="serve")
serve.start(proxy_location="Disabled")
serve.run(build(load_config(sys.argv[2]), APP_NAME), name=APP_NAME, route_prefix=None)
"""
LONG = "count " * 900


class Deployment:
    """The application on a Ray cluster of two nodes; the kernel spreads connections over the gateways' one port."""

    def __init__(self, ray_address: str, folder: Path, redis_url: str) -> None:
        self._ray_address, self._file, self._redis_url = ray_address, folder / "config.yaml", redis_url
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"

    def deploy(self, *, notice: float, delay: int) -> None:
        """Returns when all of it runs."""
        self._file.write_text(CONFIG.format(port=self.port, redis=self._redis_url, notice=notice, delay=delay))
        command = [sys.executable, "-c", DEPLOY, self._ray_address, str(self._file)]
        subprocess.run(command, check=True, timeout=240, env={**os.environ, **ENV}, capture_output=True)

    def gateways(self) -> set[psutil.Process]:
        """Those that listen now."""
        return gateway_processes(self.port)

    def replicas(self) -> set[str]:
        """Ids of the variant's replicas."""
        with grpc.insecure_channel(self.address) as channel:
            loads = AdminServiceStub(channel).GetLoads(GetLoadsRequest(), timeout=10, wait_for_ready=True).loads
        return {load.replica_id for load in loads}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Both gateways and both replicas run."""
    with some_nodes(2) as nodes, EmbeddedValkey() as valkey:
        made = Deployment(nodes.address, tmp_path_factory.mktemp("upgrade"), valkey.url)
        made.deploy(notice=1, delay=20)
        eventually(lambda: len(made.gateways()) == 2)
        yield made


@contextmanager
def _load(address: str) -> Iterator[list[Future[int]]]:
    """Callers that ask for short answers, on ever new connections, until the block ends: how many each got."""
    is_over = threading.Event()

    def call() -> int:
        num_answers = 0
        while not is_over.is_set():
            with Client(address, timeout_s=60, retries=4) as client:
                for _ in range(10):
                    answer = client.generate("one two three", max_output_tokens=3)
                    assert answer.usage.output_tokens == 3
                    num_answers += 1
        return num_answers

    with ThreadPoolExecutor(3) as pool:
        calling = [pool.submit(call) for _ in range(3)]
        try:
            yield calling
        finally:
            is_over.set()


def _long_answer(address: str, has_begun: threading.Event) -> list[Piece]:
    pieces = []
    with Client(address, timeout_s=120) as client:
        for piece in client.stream(LONG, max_output_tokens=900):
            pieces.append(piece)
            has_begun.set()
    return pieces


def test_an_upgrade_of_everything_loses_nothing(deployment: Deployment) -> None:
    gateways, replicas, has_begun = deployment.gateways(), deployment.replicas(), threading.Event()
    with ThreadPoolExecutor(1) as pool, _load(deployment.address) as calling:
        long = pool.submit(_long_answer, deployment.address, has_begun)
        assert has_begun.wait(30)
        deployment.deploy(notice=1.5, delay=19)
        pieces = long.result()
    assert min(item.result() for item in calling) > 0
    assert not deployment.gateways() & gateways
    assert not deployment.replicas() & replicas
    # The echo engine repeats the prompt from the role's name on.
    assert f"user\n{LONG}".startswith("".join(piece.text for piece in pieces))
    assert pieces[-1].response.usage.output_tokens == 900
    assert [piece.response.chunk_index for piece in pieces] == list(range(len(pieces)))
    assert pieces[-1].response.usage.migrations > 0, "it outlasted its replica's grace"


def test_a_gateway_at_sigterm_leaves_without_a_loss_and_is_replaced(deployment: Deployment) -> None:
    before = deployment.gateways()
    with _load(deployment.address) as calling:
        leaving = before.pop()
        leaving.terminate()
        leaving.wait(timeout=40)
        eventually(lambda: len(deployment.gateways()) == 2)
    assert min(item.result() for item in calling) > 0
    assert leaving not in deployment.gateways()


def test_a_drained_gateway_takes_no_more_calls_and_loses_none(deployment: Deployment) -> None:
    with _load(deployment.address) as calling, grpc.insecure_channel(deployment.address) as channel:
        assert AdminServiceStub(channel).Drain(DrainRequest(), timeout=60).running_requests == 0
        eventually(lambda: len(deployment.gateways()) == 1, timeout_s=5)
        time.sleep(0.5)
    assert min(item.result() for item in calling) > 0
