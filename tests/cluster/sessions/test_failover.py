"""Primaries that die, fall silent or step down: what was confirmed is there, once, and new turns are taken."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from cluster.answers.keeper import Keeper
from cluster.answers.record import AnswerKey, Claim
from cluster.answers.store import AnswerStore
from cluster.config import AnswersConfig, SessionsConfig
from cluster.sessions.embedded import EmbeddedValkey
from cluster.sessions.record import SessionRecord
from cluster.sessions.store import SessionStore
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk
from protos.gemmacluster.v1.generation_pb2 import GenerateRequest
from tests.cluster.sessions.samples import append, connections_in_use, eventually, text
from tests.redis_kinds.cluster import WithCluster
from tests.redis_kinds.replication import wait_until_replicated
from tests.redis_kinds.sentinel import WithSentinel

pytestmark = [pytest.mark.redis, pytest.mark.slow]

TIMEOUT_S = 4.0
DOWN_AFTER_MS = 2000
SESSIONS = [f"s{number}" for number in range(24)]
Servers = WithSentinel | WithCluster


@pytest.fixture
def with_sentinel() -> Iterator[WithSentinel]:
    """Whose replica soon takes over."""
    with WithSentinel(DOWN_AFTER_MS) as servers:
        yield servers


@pytest.fixture
def with_cluster() -> Iterator[WithCluster]:
    """Whose first node has a replica that soon takes over."""
    with WithCluster(DOWN_AFTER_MS, num_replicas=1) as servers:
        yield servers


@pytest.fixture(params=["with_sentinel", "with_cluster"])
def servers(request: pytest.FixtureRequest) -> Servers:
    """Of either kind."""
    found: Servers = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def store(servers: Servers) -> AsyncIterator[SessionStore]:
    """A store over them."""
    store = SessionStore(servers.url, SessionsConfig(timeout_s=TIMEOUT_S))
    yield store
    assert connections_in_use(store) == 0
    await store.close()


def _first(servers: Servers) -> EmbeddedValkey:
    return servers.primary if isinstance(servers, WithSentinel) else servers.nodes[0]


def _replica(servers: Servers) -> EmbeddedValkey:
    return servers.replica if isinstance(servers, WithSentinel) else servers.nodes[-1]


def _role(server: EmbeddedValkey) -> str:
    """Empty while a Sentinel changes it, which throws clients out."""
    try:
        with redis.Redis.from_url(server.url, protocol=2) as client:
            return str(client.info("replication")["role"])  # type: ignore[index]
    except redis.ConnectionError:
        return ""


async def _until_role(server: EmbeddedValkey, role: str) -> None:
    async with asyncio.timeout(60):
        while _role(server) != role:
            await asyncio.sleep(0.1)


async def _spoken(store: SessionStore, servers: Servers) -> dict[str, SessionRecord]:
    """Sessions of one turn each, which the replica has confirmed."""
    records = {}
    for name in SESSIONS:
        made, _ = await eventually(lambda name=name: store.create(name))  # type: ignore[misc]
        records[name] = await append(store, made, text(f"one in {name}"), request_id="1")
    wait_until_replicated(_first(servers))
    return records


async def _go_on(store: SessionStore, records: dict[str, SessionRecord]) -> int:
    """Says a second thing in each session, and the first once more; returns how many calls were Unavailable."""
    failures = 0
    for name, record in records.items():
        for number, word in (("1", "one"), ("2", "two")):
            said = text(f"{word} in {name}")
            _, failed = await eventually(lambda: append(store, record, said, request_id=number))  # noqa: B023
            failures += failed
    for name in records:
        read = await store.get(name, with_contents=True)
        assert read.contents == (text(f"one in {name}"), text(f"two in {name}"))
    assert sorted(record.session_id for record in (await store.list(100))[0]) == sorted(SESSIONS)
    return failures


async def test_a_killed_primary_loses_no_confirmed_turn_and_doubles_none(store: SessionStore, servers: Servers) -> None:
    records = await _spoken(store, servers)
    os.kill(_first(servers).pid, signal.SIGKILL)
    assert await _go_on(store, records) > 0


async def test_a_silent_primary_is_left_and_is_none_when_it_is_back(store: SessionStore, servers: Servers) -> None:
    records = await _spoken(store, servers)
    os.kill(_first(servers).pid, signal.SIGSTOP)
    try:
        await _go_on(store, records)
    finally:
        os.kill(_first(servers).pid, signal.SIGCONT)
    await _until_role(_first(servers), "slave")
    for name in SESSIONS:
        read, _ = await eventually(lambda name=name: store.get(name, with_contents=True, touch=True))  # type: ignore[misc]
        assert read.turns == 2


async def test_an_answer_is_kept_through_a_failover(servers: Servers) -> None:
    config = AnswersConfig(lease_s=60)
    store = AnswerStore(servers.url, config, TIMEOUT_S)
    keeper = Keeper(store, config, patience_s=60)
    keys = [AnswerKey.of("", name) for name in SESSIONS]
    logs = []
    for key in keys:
        assert await store.claim(key, Claim(GenerateRequest(model="e2b"), 1), "a")
        logs.append(keeper.open(key, "a"))
    writing = asyncio.create_task(keeper.run())
    for number in range(40):
        for log in logs:
            log.put(ReplicaChunk(responses=[b"%d" % number], token_ids=[7]))
        await asyncio.sleep(0.05)
        if number == 20:
            wait_until_replicated(_first(servers))
            os.kill(_first(servers).pid, signal.SIGKILL)
    for log in logs:
        log.end()
    async with asyncio.timeout(60):
        while not all(log.is_closed for log in logs):
            await asyncio.sleep(0.05)
    for key in keys:
        reading = await store.read(key, 0)
        assert (reading.is_finished, list(reading.messages)) == (True, [b"%d" % number for number in range(40)])
    writing.cancel()
    await store.close()


async def test_slots_that_have_moved_are_followed_without_a_failure(with_cluster: WithCluster) -> None:
    store = SessionStore(with_cluster.url, SessionsConfig(timeout_s=30))
    await _spoken(store, with_cluster)
    with redis.Redis.from_url(_replica(with_cluster).url, protocol=2) as client:
        client.execute_command("CLUSTER FAILOVER")
    await _until_role(_replica(with_cluster), "master")
    await _until_role(_first(with_cluster), "slave")
    for name in SESSIONS:
        assert (await store.get(name, with_contents=True, touch=True)).turns == 1
    await store.create("new")
    assert len((await store.list(100))[0]) == len(SESSIONS) + 1
    await store.close()


async def test_sessions_are_spread_over_all_nodes(with_cluster: WithCluster) -> None:
    store = SessionStore(with_cluster.url, SessionsConfig(timeout_s=30))
    await _spoken(store, with_cluster)
    for node in with_cluster.nodes[:3]:
        with redis.Redis.from_url(node.url) as client:
            assert int(client.dbsize()) > 5  # type: ignore[arg-type]
    await store.close()
