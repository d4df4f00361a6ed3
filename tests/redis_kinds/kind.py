"""What the tests of everything over Redis ask of a Redis, however many servers it is."""

from __future__ import annotations

from typing import Any, Protocol


class RedisKind(Protocol):
    """Runs inside `with`."""

    @property
    def url(self) -> str:
        """As `sessions.redis_url` takes it."""

    @property
    def pids(self) -> list[int]:
        """Of the servers that hold the keys."""

    def client(self) -> Any:
        """A synchronous client of redis-py that reaches every key; to be used in `with`."""
