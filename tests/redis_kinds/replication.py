"""Waiting for a replica."""

from __future__ import annotations

import time

import redis

from cluster.sessions.embedded import EmbeddedValkey

_PATIENCE_S = 60


def wait_until_replicated(primary: EmbeddedValkey) -> None:
    """Returns when the one replica has confirmed all that the primary has. Raises AssertionError after a minute."""
    deadline = time.monotonic() + _PATIENCE_S
    with redis.Redis.from_url(primary.url, protocol=2) as client:
        while not _is_replicated(client.info("replication")):  # type: ignore[arg-type]
            assert time.monotonic() < deadline, "the replica is behind"
            time.sleep(0.05)


def _is_replicated(info: dict[str, dict[str, int | str]]) -> bool:
    replica = info.get("slave0", {})
    return replica.get("state") == "online" and replica.get("offset") == info["master_repl_offset"]
