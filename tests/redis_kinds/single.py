"""One server."""

from __future__ import annotations

from typing import Any

import redis

from cluster.sessions.embedded import EmbeddedValkey


class Single(EmbeddedValkey):
    """A RedisKind of one server."""

    @property
    def pids(self) -> list[int]:
        return [self.pid]

    def client(self) -> Any:
        return redis.Redis.from_url(self.url)
