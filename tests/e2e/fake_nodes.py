"""A Ray cluster whose nodes come and go as Ray's own autoscaler decides: its fake provider starts them on this machine.

As `ray.cluster_utils.AutoscalingCluster`, but on a port of its own, and without ending every other Ray here.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.util import get_node_ip_address

from tests.e2e.some_nodes import ENV
from tests.e2e.up_process import STOP_S
from tests.ports import free_port

_START_S = 120.0
_PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
_COMMANDS = (
    "initialization",
    "setup",
    "head_setup",
    "worker_setup",
    "head_start_ray",
    "worker_start_ray",
)
_ENV = {
    "RAY_FAKE_CLUSTER": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
}


class FakeNodes:
    """A Ray cluster's nodes as processes of this machine."""

    def __init__(self, address: str, head: subprocess.Popen[bytes]) -> None:
        self.address = address
        self._head = head

    @property
    def num_workers(self) -> int:
        """Nodes beside the head: each has one raylet, all descendants of the head's first process."""
        processes = psutil.Process(self._head.pid).children(recursive=True)
        return sum(_is_raylet(process) for process in processes) - 1


@contextmanager
def nodes_as_asked_for(folder: Path, most: int) -> Iterator[FakeNodes]:
    """A head of one CPU, and up to `most` workers of one, which are gone soon after they are idle."""
    port = free_port()
    address = f"{get_node_ip_address()}:{port}"
    config, log = folder / "autoscaling.json", folder / "ray.log"
    config.write_text(json.dumps(_config(address, most)))
    options = [f"--port={port}", f"--autoscaling-config={config}", "--num-cpus=1", "--include-dashboard=false"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *options],
            env={**os.environ, **ENV, **_ENV},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(port, process, log)
        yield FakeNodes(address, process)
    finally:
        _end(process)


def _is_raylet(process: psutil.Process) -> bool:
    try:
        return process.name() == "raylet" and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _config(address: str, most: int) -> dict[str, object]:
    # Ray's package lacks the defaults of its own name for this provider; as an external one it needs none.
    provider = {
        "type": "external",
        "module": _PROVIDER,
        "gcs_address": address,
        "launch_multiple": True,
        "head_node_id": FAKE_HEAD_NODE_ID,
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }
    kinds = {
        "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": most},
    }
    return {
        "cluster_name": "fake",
        "max_workers": most,
        "idle_timeout_minutes": 0.05,
        "upscaling_speed": 1.0,
        "provider": provider,
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
        # What would be run on nodes, and copied to them.
        **{f"{kind}_commands": [] for kind in _COMMANDS},
        "file_mounts": {},
        "cluster_synced_files": [],
        "auth": {},
    }


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with socket.socket() as attempt:
            if attempt.connect_ex((get_node_ip_address(), port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"Ray has not started in time: {log.read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its workers are children of its autoscaler's, and would go on without it."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
    for child in children:
        if child.is_running():
            child.kill()
