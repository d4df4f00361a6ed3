"""Real Valkey servers, of each kind of Redis, emptied before each test, and stores over them that must leak nothing."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cluster.config import SessionsConfig
from cluster.sessions.embedded import EmbeddedValkey
from cluster.sessions.store import SessionStore
from tests.cluster.sessions.samples import connections_in_use
from tests.redis_kinds.kind import RedisKind


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """One server for every test that does not stop it."""
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
async def store(any_redis: RedisKind) -> AsyncIterator[SessionStore]:
    """A store over each kind of Redis."""
    store = SessionStore(any_redis.url, SessionsConfig(timeout_s=30))
    yield store
    assert connections_in_use(store) == 0
    await store.close()
