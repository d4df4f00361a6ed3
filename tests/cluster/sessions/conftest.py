"""A real Valkey server for the whole run, emptied before each test, and stores over it that must leak nothing."""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from cluster.config import SessionsConfig
from cluster.sessions.embedded import EmbeddedValkey
from cluster.sessions.store import SessionStore
from tests.cluster.sessions.samples import connections_in_use


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[EmbeddedValkey]:
    """One server for every test that does not stop it."""
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
def valkey(shared_valkey: EmbeddedValkey) -> EmbeddedValkey:
    """The shared server, empty."""
    with redis.Redis.from_url(shared_valkey.url) as client:
        client.flushall()
    return shared_valkey


@pytest.fixture
async def store(valkey: EmbeddedValkey) -> AsyncIterator[SessionStore]:
    """A store over the shared server."""
    store = SessionStore(valkey.url, SessionsConfig(timeout_s=5))
    yield store
    assert connections_in_use(store) == 0
    await store.close()
