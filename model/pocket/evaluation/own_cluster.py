"""A cluster that lives as long as the measurement: `gemma-cluster up` on a free port."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

_READY = "gemma-cluster is ready on "
_STOP_S = 90.0


class ClusterDidNotStart(RuntimeError):
    """`gemma-cluster up` ended before it was ready; what it printed says why."""


@contextmanager
def own_cluster(family: str, variants: Sequence[str]) -> Iterator[str]:
    """The address of its gateway. Its progress goes to stderr. Raises ClusterDidNotStart."""
    with tempfile.TemporaryDirectory(prefix="gemma-cluster-") as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(_config(family, variants)), encoding="utf-8")
        with _up(file) as process:
            yield _address(process)


def _config(family: str, variants: Sequence[str]) -> dict[str, object]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {"family": family, "gateway": {"port": port}, "variants": {name: {} for name in variants}}


@contextmanager
def _up(config: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "cluster.cli", "up", "--config", str(config)]
    # Its own Valkey: what is measured leaves nothing behind in anybody's Redis.
    env = {**os.environ, "REDIS_URL": ""}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _address(process: subprocess.Popen[str]) -> str:
    for line in process.stdout or ():
        if line.startswith(_READY):
            return line.removeprefix(_READY).split()[0]
    raise ClusterDidNotStart(f"gemma-cluster up ended with {process.wait()} before it was ready; see above")
