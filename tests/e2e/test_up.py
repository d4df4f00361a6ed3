"""`gemma-cluster up` as a process: ready line, progress, taken port, clean end."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.conftest import RunningCluster
from tests.e2e.up_process import UpProcess
from tests.ports import free_port

ECHO_ONLY = """
family: tiny
gateway: {{port: {port}}}
variants:
  e2b: {{engine: echo}}
"""


def test_health_says_serving_once_ready(cluster: RunningCluster) -> None:
    with grpc.insecure_channel(cluster.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "gemmacluster.v1.GenerationService"):
            status = stub.Check(health_pb2.HealthCheckRequest(service=service)).status
            assert status == health_pb2.HealthCheckResponse.SERVING


def test_progress_is_shown_while_it_loads(cluster: RunningCluster) -> None:
    output = "".join(cluster.output)
    for name in ("e2b", "e4b", "26b-a4b", "31b", "gateway"):
        assert f"{name} is ready" in output


def test_a_second_up_on_a_taken_port_says_so(cluster: RunningCluster) -> None:
    second = UpProcess(["--port", cluster.address.rpartition(":")[2]], {})
    assert second.wait() == 1
    output = "".join(second.output)
    assert "is another `up` running?" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(ECHO_ONLY.format(port=free_port()))
    process = UpProcess(["--config", str(config)], {"REDIS_URL": ""})
    try:
        process.wait_until_ready()
        assert process.stop(number) == 0
        assert process.survivors() == []
        assert "Traceback" not in "".join(process.output)
    finally:
        process.kill()


@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_stopped_while_it_starts_it_leaves_no_process(tmp_path: Path, seconds: float) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(ECHO_ONLY.format(port=free_port()))
    process = UpProcess(["--config", str(config)], {"REDIS_URL": ""})
    try:
        process.wait_for("starting Ray")
        time.sleep(seconds)
        process.stop(signal.SIGTERM if seconds > 2 else signal.SIGINT)
        assert process.survivors() == []
    finally:
        process.kill()


def test_a_mistake_in_the_configuration_names_the_field(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("gateway: {prot: 1}")
    process = UpProcess(["--config", str(config)], {})
    assert process.wait() == 1
    assert "gateway.prot" in "".join(process.output)


def test_a_ray_that_cannot_start_says_why(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    process = UpProcess(["--port", str(free_port())], {"REDIS_URL": "", "RAY_TMPDIR": str(folder)})
    try:
        assert process.wait() == 1
        output = "".join(process.output)
        assert "gemma-cluster: Ray did not start: " in output
        assert "Traceback" not in output
    finally:
        process.kill()


def test_a_checkpoint_that_is_not_there_fails_with_its_name(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"gateway: {{port: {free_port()}}}\nvariants: {{e2b: {{checkpoint: /no/such/folder}}}}")
    process = UpProcess(["--config", str(config)], {"REDIS_URL": ""})
    try:
        assert process.wait() == 1
        assert "".join(process.output).startswith("gemma-cluster: checkpoint /no/such/folder: no such folder")
    finally:
        process.kill()
