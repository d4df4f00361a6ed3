"""A real Valkey server for the limits of callers, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from cluster.admission import caller_limits
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


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no Redis that is away."""
    monkeypatch.setattr(caller_limits, "_TIMEOUT_S", 2.0)
