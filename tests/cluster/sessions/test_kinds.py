"""Each kind of Redis refuses, is another than its URL says, or falls silent: precise errors, and well again after."""

import asyncio
import os
import signal

import pytest

from cluster.config import SessionsConfig
from cluster.errors import Unavailable
from cluster.sessions.embedded import EmbeddedValkey
from cluster.sessions.store import SessionStore
from tests.cluster.sessions.calls import TIMEOUT_S, each_is_unavailable_in_time, every_call
from tests.cluster.sessions.samples import connections_in_use, eventually
from tests.redis_kinds.cluster import WithCluster
from tests.redis_kinds.kind import RedisKind
from tests.redis_kinds.redis_7 import Redis7

pytestmark = pytest.mark.redis


async def test_a_refused_password_is_told_apart_whatever_refuses_it(any_redis: RedisKind) -> None:
    store = SessionStore(any_redis.url.replace("://:", "://:wrong"), SessionsConfig(timeout_s=30))
    for call in every_call(store):
        with pytest.raises(Unavailable, match="refuses the gateway's user or password"):
            await call()
    assert connections_in_use(store) == 0
    await store.close()


async def test_a_redis_of_another_kind_than_its_url_says_is_told_apart(
    valkey: EmbeddedValkey, any_redis: RedisKind
) -> None:
    store = SessionStore(valkey.url.replace("redis:", "redis+cluster:"), SessionsConfig(timeout_s=30))
    with pytest.raises(Unavailable, match="no node answers as one of a whole Redis Cluster"):
        await store.create()
    await store.close()
    if isinstance(any_redis, WithCluster):
        store = SessionStore(any_redis.nodes[0].url, SessionsConfig(timeout_s=30))
        with pytest.raises(Unavailable, match=r"must begin with redis\+cluster://"):
            await asyncio.gather(*(store.create() for _ in range(20)))
        await store.close()


async def test_a_silent_redis_of_any_kind_is_unavailable_in_time_and_is_used_when_it_is_back(
    any_redis: RedisKind,
) -> None:
    store = SessionStore(any_redis.url, SessionsConfig(timeout_s=TIMEOUT_S))
    await eventually(lambda: store.list(10))
    for pid in any_redis.pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        await each_is_unavailable_in_time(store)
    finally:
        for pid in any_redis.pids:
            os.kill(pid, signal.SIGCONT)
    await eventually(lambda: store.list(10))
    await store.close()


def test_redis_7_is_redis_itself() -> None:
    with Redis7() as server, server.client() as client:
        info = client.info("server")
    assert info["redis_version"].startswith("7.")
    assert "valkey_version" not in info
