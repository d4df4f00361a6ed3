"""The same application on a Ray cluster of three nodes that runs already: by `up --address`, and by `serve run`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cluster.client import Client
from cluster.sessions.embedded import EmbeddedValkey
from tests.e2e.some_nodes import ENV, some_nodes
from tests.e2e.up_process import STOP_S, UpProcess
from tests.ports import free_port

CONFIG = """
family: tiny
gateway: {{port: {port}, host: 0.0.0.0, replicas: 3}}
sessions: {{redis_url: "{redis}"}}
variants:
  e2b: {{replicas: {{min: 2, max: 2}}, max_context_tokens: 512}}
  26b-a4b: {{max_context_tokens: 512}}
"""
# Prints, for each deployment, the nodes its replicas are on.
NODES = """
import json, ray
from ray import serve
from ray.serve.schema import ServeInstanceDetails
ray.init(address={address!r}, log_to_driver=False, namespace="serve")
from ray.serve._private.api import _get_global_client
details = ServeInstanceDetails(**_get_global_client().get_serve_details())
print(json.dumps({{name: [replica.node_id for replica in deployment.replicas]
    for app in details.applications.values() for name, deployment in app.deployments.items()}}))
"""


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """A three-node cluster's address."""
    with some_nodes(3) as nodes:
        yield nodes.address


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """A configuration for three gateways on one port."""
    path = tmp_path / "config.yaml"
    with EmbeddedValkey() as valkey:
        path.write_text(CONFIG.format(port=free_port(), redis=valkey.url))
        yield path


def _nodes(ray_address: str) -> dict[str, list[str]]:
    script = NODES.format(address=ray_address)
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **ENV}, timeout=60)
    return dict(json.loads(output.stdout.splitlines()[-1]))


def _converse(address: str) -> None:
    """Many connections, so that the kernel spreads them over the gateways: the session is the same on each."""
    session_id = ""
    for turn in range(6):
        with Client(address, timeout_s=60) as client:
            session_id = session_id or client.create_session().session_id
            answer = client.generate("hello", session=session_id, max_output_tokens=4)
            assert answer.session.turns == turn + 1


def test_up_deploys_onto_a_running_cluster(ray_address: str, config: Path) -> None:
    process = UpProcess(["--address", ray_address, "--config", str(config)], {})
    try:
        address = process.wait_until_ready()
        nodes = _nodes(ray_address)
        assert len(set(nodes["gateway"])) == 3
        assert len(nodes["e2b"]) == 2
        _converse(address)
        assert process.stop() == 0
        assert _nodes(ray_address) == {}
    finally:
        process.kill()


def test_serve_run_deploys_the_same(ray_address: str, config: Path) -> None:
    port = int(config.read_text().split("port: ")[1].split(",")[0])
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.serve.scripts", "run", "cluster.app:build_app", f"config={config}"],
        env={**os.environ, **ENV, "RAY_ADDRESS": ray_address},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_serving(f"127.0.0.1:{port}")
        assert len(set(_nodes(ray_address)["gateway"])) == 3
        _converse(f"127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=STOP_S)


def _wait_until_serving(address: str) -> None:
    deadline = time.monotonic() + 120
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while time.monotonic() < deadline:
            try:
                status = stub.Check(health_pb2.HealthCheckRequest(), timeout=5, wait_for_ready=True).status
            except grpc.RpcError:
                continue
            if status == health_pb2.HealthCheckResponse.SERVING:
                return
            time.sleep(0.2)
    raise AssertionError("not serving in time")
