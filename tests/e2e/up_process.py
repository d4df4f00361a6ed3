"""A `gemma-cluster up` process, as a user would start it."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil

from cluster.errors import ClusterError

READY = "gemma-cluster is ready on "
START_S, STOP_S = 240.0, 90.0


class UpProcess:
    """Starts at once; `wait_until_ready` gives the address, `stop` sends Ctrl-C and waits."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        self.output: list[str] = []
        self.address = ""
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cluster.cli", "up", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "RAY_AUTH_MODE": "disabled", **env},
            # A group of its own, so that Ctrl-C reaches all of it as a terminal's would.
            start_new_session=True,
        )
        self._children: set[psutil.Process] = set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line)
            self._lines.put(line)
        self._process.stdout.close()
        self._lines.put(None)

    def wait_until_ready(self) -> str:
        """The `address` of the ready line. Raises AssertionError with the output when it ends first."""
        self.address = self.wait_for(READY).removeprefix(READY).split()[0]
        self._children = set(psutil.Process(self._process.pid).children(recursive=True))
        return self.address

    def wait_for(self, text: str) -> str:
        """The next line that has `text`. Raises AssertionError with the output when it ends first."""
        deadline = time.monotonic() + START_S
        while True:
            line = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            assert line is not None, f"`up` ended: {''.join(self.output)}"
            if text in line:
                return line

    def wait(self) -> int:
        """The exit code, once it ends by itself."""
        return self._process.wait(timeout=START_S)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Signals it, and waits. The exit code. SIGINT goes to the whole process group, as a terminal sends it."""
        if self._process.poll() is None:
            self._children |= set(psutil.Process(self._process.pid).children(recursive=True))
            (os.killpg if number == signal.SIGINT else os.kill)(self._process.pid, number)
        try:
            return self._process.wait(timeout=STOP_S)
        finally:
            self.kill()

    def survivors(self) -> list[str]:
        """Processes it started that are still there 10 s after its end."""
        _, alive = psutil.wait_procs(list(self._children), timeout=10)
        return [" ".join(process.cmdline()) for process in alive if process.status() != psutil.STATUS_ZOMBIE]

    def kill(self) -> None:
        """Leaves nothing behind, whatever went wrong."""
        for process in (*self._children, self._process):
            if process.pid and psutil.pid_exists(process.pid):
                try:
                    process.kill()
                except (psutil.NoSuchProcess, ProcessLookupError):
                    continue


@contextmanager
def running_up(folder: Path, config: str, *arguments: str, redis_url: str = "") -> Iterator[UpProcess]:
    """Ready, with this configuration written into the folder. In the end it must stop well and leave nothing behind."""
    file = folder / "config.yaml"
    file.write_text(config)
    process = UpProcess([*arguments, "--config", str(file)], {"REDIS_URL": redis_url})
    try:
        process.wait_until_ready()
        yield process
        assert process.stop() == 0
        assert process.survivors() == []
    finally:
        process.kill()


def gateway_process(address: str) -> psutil.Process:
    """A process that listens on a gateway's address."""
    return next(iter(gateway_processes(int(address.rpartition(":")[2]))))


def gateway_processes(port: int) -> set[psutil.Process]:
    """All processes that listen on a gateway's port."""
    return {psutil.Process(item.pid) for item in psutil.net_connections("tcp") if _listens(item, port)}


def kill_replica(deployment: str, address: str) -> None:
    """SIGKILLs the deployment's replica, of the Ray that the gateway at `address` belongs to."""
    a_replica(deployment, address).kill()


def a_replica(deployment: str, address: str) -> psutil.Process:
    """One of the deployment, of the Ray that the gateway at `address` belongs to."""
    name = f"ServeReplica:gemma-cluster:{deployment}"
    raylet = gateway_process(address).parent()
    assert raylet is not None
    return next(child for child in raylet.children(recursive=True) if name in " ".join(child.cmdline()))


def eventually(check: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Returns once `check` is true; calls that fail meanwhile are tried again."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if check():
                return
        except (grpc.RpcError, ClusterError):
            pass
        time.sleep(0.2)
    raise AssertionError("not in time")


def _listens(connection: Any, port: int) -> bool:
    return bool(connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid)
