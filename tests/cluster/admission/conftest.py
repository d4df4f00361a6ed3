"""A real Valkey server for the limits of callers, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from cluster.sessions.embedded import EmbeddedValkey


@pytest.fixture(scope="session")
def limits_valkey() -> Iterator[EmbeddedValkey]:
    """One server for every test that does not stop it."""
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
def valkey(limits_valkey: EmbeddedValkey) -> EmbeddedValkey:
    """The shared server, empty."""
    with redis.Redis.from_url(limits_valkey.url) as client:
        client.flushall()
    return limits_valkey
