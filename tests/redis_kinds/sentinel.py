"""A primary and its replica, watched by a Sentinel."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from cluster.sessions.embedded import EmbeddedValkey
from tests.ports import free_port
from tests.redis_kinds.replication import wait_until_replicated
from tests.redis_kinds.sentinel_process import PASSWORD, SERVICE, SentinelProcess

_SECRET = "of-the-servers"


class WithSentinel:
    """A RedisKind. The first Sentinel that its URL names does not run."""

    def __init__(self, down_after_ms: int = 600_000) -> None:
        """After `down_after_ms` of silence the replica becomes the primary."""
        self._down_after_ms = down_after_ms
        self._stack = ExitStack()

    def __enter__(self) -> WithSentinel:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.primary = stack.enter_context(_server(folder / "first"))
            self.replica = stack.enter_context(_server(folder / "second", replicaof=f"127.0.0.1 {self.primary.port}"))
            self.sentinel = SentinelProcess(folder, self.primary, _SECRET, self._down_after_ms)
            stack.callback(self.sentinel.stop)
            self.sentinel.start()
            wait_until_replicated(self.primary)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{self.sentinel.port}"
        return f"redis+sentinel://:{_SECRET}@{hosts}/{SERVICE}/0?sentinel_password={PASSWORD}"

    @property
    def pids(self) -> list[int]:
        return [self.primary.pid]

    def client(self) -> Any:
        return redis.Redis.from_url(self.primary.url)


def _server(folder: Path, **options: str) -> EmbeddedValkey:
    """With a folder of its own, for a replica writes what it gets to disk."""
    folder.mkdir()
    return EmbeddedValkey(password=_SECRET, options={"masterauth": _SECRET, "dir": str(folder), **options})
