"""The upgrade of k8s/README.md with two whole Ray clusters: under load, by connection and by call, nothing dropped."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from cluster.sessions.embedded import EmbeddedValkey
from tests.e2e.up_process import UpProcess
from tests.k8s.haproxy import HaProxy
from tests.k8s.load import Load
from tests.ports import free_port

CONFIG = """
family: tiny
gateway: {{port: {port}, drain_notice_s: 1, drain_grace_s: 20}}
sessions: {{redis_url: "{redis}"}}
variants: {{e2b: {{engine: echo, echo_delay_ms: 10}}}}
"""


class _Cluster:
    """A Ray cluster with our application, on this machine, by `up`."""

    def __init__(self, folder: Path, name: str, redis: str) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self._config = folder / f"{name}.yaml"
        self._config.write_text(CONFIG.format(port=port, redis=redis))

    def start(self, stack: ExitStack) -> None:
        """Returns when it is ready."""
        self._process = UpProcess(["--config", str(self._config)], {})
        stack.callback(self._process.kill)
        self._process.wait_until_ready()

    def drain(self) -> None:
        """What preStop of the gateway's pod runs."""
        command = [sys.executable, "-m", "cluster.cli", "drain", "--address", self.address]
        drained = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        assert drained.stdout == "drained; 0 calls were cut off\n"

    def stop(self) -> None:
        """The cluster ends."""
        assert self._process.stop() == 0


def test_no_call_is_dropped_and_no_session_lost_while_a_second_cluster_takes_over(tmp_path: Path) -> None:
    with EmbeddedValkey() as valkey, ExitStack() as clusters:
        old, new = (_Cluster(tmp_path, name, valkey.url) for name in ("old", "new"))
        old.start(clusters)
        with ExitStack() as callers:
            loads = [_load(callers, tmp_path, mode, old, new) for mode in ("tcp", "http")]
            new.start(clusters)  # its gateway says SERVING, and is one of the Service's from now on
            for load in loads:
                load.goes_on()
            old.drain()
            old.stop()
            for load in loads:
                load.goes_on()
        new.stop()
    assert [load.failures for load in loads] == [[], []]


def _load(stack: ExitStack, folder: Path, mode: str, old: _Cluster, new: _Cluster) -> Load:
    """Through a proxy that is a Service over both clusters."""
    own = folder / mode
    own.mkdir()
    proxy = stack.enter_context(HaProxy(own, mode, {"old": old.address, "new": new.address}))
    load = stack.enter_context(Load(proxy.address, in_sessions=True))
    load.goes_on()
    return load
