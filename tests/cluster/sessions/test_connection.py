"""Redis away, unwilling or overrun: precise errors, in time, nothing leaked, and all well when it is back."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio
from redis.exceptions import BusyLoadingError, MovedError, RedisClusterException, ResponseError

from cluster.config import SessionsConfig
from cluster.errors import ClusterError, NotFound, Overloaded, Unavailable
from cluster.sessions.embedded import EmbeddedValkey
from cluster.sessions.faults import to_cluster_error
from cluster.sessions.store import SessionStore
from tests.cluster.sessions.calls import SLACK_S, TIMEOUT_S, each_is_unavailable_in_time, every_call
from tests.cluster.sessions.samples import append, connections_in_use, free_port, text

pytestmark = pytest.mark.redis


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    """A server that a test may stop and bend."""
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
async def own_store(own_valkey: EmbeddedValkey) -> AsyncIterator[SessionStore]:
    store = SessionStore(own_valkey.url, SessionsConfig(timeout_s=TIMEOUT_S))
    yield store
    assert connections_in_use(store) == 0
    await store.close()


async def test_a_silent_redis_is_unavailable_in_time_and_loses_nothing(
    own_store: SessionStore, own_valkey: EmbeddedValkey
) -> None:
    stored = await append(own_store, await own_store.create("s"))
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        await each_is_unavailable_in_time(own_store)
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    # What was sent meanwhile is carried out late; none of it had the session's etag.
    read = await own_store.get("s", with_contents=True)
    assert (read.etag, read.contents) == (stored.etag, (text("hello"),))
    assert (await append(own_store, read)).turns == 2


async def test_a_turn_cut_off_by_the_timeout_can_be_sent_again(
    own_store: SessionStore, own_valkey: EmbeddedValkey
) -> None:
    record = await own_store.create("s")
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable):
            await append(own_store, record, text("once"), request_id="r")
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    assert (await append(own_store, record, text("once"), request_id="r")).turns == 1
    assert (await own_store.get("s", with_contents=True)).contents == (text("once"),)


async def test_many_calls_on_a_silent_redis_all_end_in_time(
    own_store: SessionStore, own_valkey: EmbeddedValkey
) -> None:
    os.kill(own_valkey.pid, signal.SIGSTOP)
    started = time.monotonic()
    try:
        calls = [own_store.get("s", with_contents=True) for _ in range(300)]
        results = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    assert {type(result) for result in results} == {Unavailable}
    assert time.monotonic() - started < TIMEOUT_S + SLACK_S + 1
    assert connections_in_use(own_store) == 0


async def test_a_dead_redis_is_unavailable_and_its_successor_is_used_by_itself() -> None:
    port = free_port()
    store: SessionStore | None = None
    for attempt in range(3):
        with EmbeddedValkey(port=port, password="secret") as server:
            store = store or SessionStore(server.url, SessionsConfig(timeout_s=TIMEOUT_S))
            await store.create(f"s{attempt}")
            assert len((await store.list(10))[0]) == 1
        await each_is_unavailable_in_time(store)
    assert store is not None
    await store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://127.0.0.1:{}", "Redis does not answer"),
        ("redis+sentinel://127.0.0.1:{},127.0.0.1:{}/sessions", "no Sentinel answers with a primary"),
        ("redis+cluster://127.0.0.1:{},127.0.0.1:{}", "Redis does not answer"),
    ],
)
async def test_a_store_can_be_made_before_redis_is_there(url: str, message: str) -> None:
    store = SessionStore(url.format(free_port(), free_port()), SessionsConfig(timeout_s=TIMEOUT_S))
    await each_is_unavailable_in_time(store, message)
    await store.close()


@pytest.mark.parametrize("credentials", ["", ":wrong@", "nobody:wrong@"])
async def test_a_refused_password_is_told_apart(valkey: EmbeddedValkey, credentials: str) -> None:
    store = SessionStore(f"redis://{credentials}127.0.0.1:{valkey.port}", SessionsConfig())
    for call in every_call(store):
        with pytest.raises(Unavailable, match="refuses the gateway's user or password") as caught:
            await call()
        assert "wrong" not in str(caught.value)
    assert connections_in_use(store) == 0
    await store.close()


async def test_a_replica_refuses_writes_until_it_is_promoted() -> None:
    with EmbeddedValkey(options={"replicaof": "127.0.0.1 1"}) as server:
        store = SessionStore(server.url, SessionsConfig())
        with pytest.raises(Unavailable, match=r"\(READONLY\)"):
            await store.create("s")
        with pytest.raises(NotFound):
            await store.get("s", with_contents=True)
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.replicaof("NO", "ONE")
        record = await store.create("s")
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.replicaof("127.0.0.1", "1")
        for call in (append(store, record), store.get("s", with_contents=True, touch=True), store.delete("s")):
            with pytest.raises(Unavailable, match=r"\(READONLY\)"):
                await call
        await store.close()


async def test_a_full_redis_refuses_writes_and_still_reads(own_store: SessionStore, own_valkey: EmbeddedValkey) -> None:
    record = await append(own_store, await own_store.create("s"))
    async with redis.asyncio.Redis.from_url(own_valkey.url) as client:
        await client.config_set("maxmemory", 1)
        for call in (
            own_store.create(),
            append(own_store, record),
            own_store.get("s", with_contents=True, touch=True),
        ):
            with pytest.raises(Overloaded, match="out of memory; nothing was stored"):
                await call
        assert (await own_store.get("s", with_contents=True)).contents == (text("hello"),)
        await client.config_set("maxmemory", 0)
    assert (await append(own_store, record)).turns == 2
    assert len((await own_store.list(10))[0]) == 1


async def test_too_few_replicas_is_told_apart(own_store: SessionStore, own_valkey: EmbeddedValkey) -> None:
    async with redis.asyncio.Redis.from_url(own_valkey.url) as client:
        await client.config_set("min-replicas-to-write", 1)
    with pytest.raises(Unavailable, match=r"\(NOREPLICAS\)"):
        await own_store.create("s")


async def test_connections_run_out_softly(own_valkey: EmbeddedValkey) -> None:
    patient = SessionStore(own_valkey.url, SessionsConfig(timeout_s=60))
    await patient.create("s")
    async with redis.asyncio.Redis.from_url(own_valkey.url) as client:
        await asyncio.gather(*(patient.get("s", with_contents=True) for _ in range(300)))
        assert int((await client.info("clients"))["connected_clients"]) <= 65
    await patient.close()


async def test_cancelled_calls_leak_no_connection_and_mix_no_answers(store: SessionStore) -> None:
    for number in range(10):
        await append(store, await store.create(f"s{number}"), text(f"said in {number}"))
    chance = random.Random(3)

    async def read(number: int) -> None:
        record = await store.get(f"s{number}", with_contents=True, touch=True)
        assert (record.session_id, record.contents) == (f"s{number}", (text(f"said in {number}"),))

    for _ in range(30):
        tasks = [asyncio.create_task(read(number)) for number in range(10)]
        await asyncio.sleep(chance.random() * 0.01)
        for task in chance.sample(tasks, 5):
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [result for result in results if not isinstance(result, asyncio.CancelledError | None)] == []
    assert connections_in_use(store) == 0


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "", "redis://localhost:port"])
def test_a_url_of_another_kind_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError):
        SessionStore(url, SessionsConfig())


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (BusyLoadingError("Redis is loading the dataset in memory", status_code="LOADING"), Unavailable, "LOADING"),
        (ResponseError("MISCONF Errors writing to the AOF file"), Unavailable, "MISCONF"),
        (ResponseError("BUSY Redis is busy running a script"), Unavailable, "BUSY"),
        (ResponseError("Error running script (call to f_1): @user_script:9: -OOM command not"), Overloaded, "memory"),
        (ResponseError("Error running script (call to f_1): @user_script:9: -READONLY You"), Unavailable, "READONLY"),
        (MovedError("1234 10.0.0.7:6379", status_code="MOVED"), Unavailable, "Redis Cluster"),
        (RedisClusterException("All slots are not covered"), Unavailable, "whole Redis Cluster"),
        (ConnectionRefusedError(111, "Connection refused"), Unavailable, "does not answer"),
        (TimeoutError(), Unavailable, "does not answer"),
    ],
)
def test_each_trouble_of_redis_has_its_error(error: Exception, kind: type[ClusterError], words: str) -> None:
    failure = to_cluster_error(error)
    assert type(failure) is kind
    assert words in str(failure)


def test_a_fault_of_ours_is_internal_and_tells_nothing_of_the_data() -> None:
    failure = to_cluster_error(ResponseError("WRONGTYPE Operation on session secret"))
    assert type(failure) is ClusterError
    assert str(failure) == "the session store failed: ResponseError"
