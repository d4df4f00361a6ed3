"""What Redis keeps of answers, on real Valkey servers of each kind: cap, lease, fence, writing twice, and giving up."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from cluster.answers.keeper import Keeper
from cluster.answers.log import AnswerLog
from cluster.answers.record import AnswerKey, Batch, Claim
from cluster.answers.store import AnswerStore
from cluster.config import AnswersConfig
from cluster.errors import AlreadyExists, NotFound, Unavailable
from cluster.sessions.embedded import EmbeddedValkey
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk
from protos.gemmacluster.v1.generation_pb2 import GenerateRequest
from tests.redis_kinds.kind import RedisKind

CONFIG = AnswersConfig(lease_s=1, max_answer_mb=1)
KIB = b"x" * 1024


@pytest.fixture
async def store(any_redis: RedisKind) -> AsyncIterator[AnswerStore]:
    """A store over it."""
    store = AnswerStore(any_redis.url, CONFIG, timeout_s=30)
    yield store
    await store.close()


@pytest.fixture
def key() -> AnswerKey:
    """An answer nobody else has."""
    return AnswerKey.of("", str(uuid.uuid4()))


def _claim(**fields: object) -> Claim:
    return Claim(GenerateRequest(model="e2b", **fields), 1)  # type: ignore[arg-type]


def _chunk(*messages: bytes, tokens: int = 1) -> ReplicaChunk:
    return ReplicaChunk(responses=messages, token_ids=[7] * tokens)


async def _flush(keeper: Keeper, log: AnswerLog) -> None:
    while log.has_news and not log.is_closed:
        await keeper.flush()


async def test_one_of_many_gets_the_answer_to_make(store: AnswerStore, key: AnswerKey) -> None:
    claims = await asyncio.gather(*(store.claim(key, _claim(), f"owner-{n}") for n in range(20)))
    assert sorted(claims) == [False] * 19 + [True]


async def test_an_id_belongs_to_one_request_of_one_caller(store: AnswerStore, key: AnswerKey) -> None:
    assert await store.claim(key, _claim(), "a")
    with pytest.raises(AlreadyExists):
        await store.claim(key, _claim(session_id="s"), "b")
    other = AnswerKey.of("someone else", key.request_id)
    with pytest.raises(NotFound):
        await store.read(other, 0)
    assert await store.claim(other, _claim(session_id="s"), "b")


async def test_an_answer_can_be_read_from_every_message_on(store: AnswerStore, key: AnswerKey) -> None:
    keeper = Keeper(store, CONFIG, 5)
    assert await store.claim(key, _claim(), "a")
    log = keeper.open(key, "a")
    for messages in ((b"0",), (b"1", b"2", b"3"), (b"4", b"5")):
        log.put(_chunk(*messages))
    log.end()
    await _flush(keeper, log)
    assert log.num_kept == 6
    for index in range(7):
        reading = await store.read(key, index)
        assert list(reading.messages) == [b"%d" % n for n in range(index, 6)]
        assert (reading.next_index, reading.is_finished, reading.is_orphan) == (6, True, False)


async def test_what_is_written_twice_is_there_once(store: AnswerStore, key: AnswerKey) -> None:
    """As when Redis did it and its reply was lost."""
    assert await store.claim(key, _claim(), "a")
    first = Batch(key, "a", [(1, _chunk(b"0").SerializeToString())], {"variant": "e2b"})
    last = Batch(key, "a", [(2, _chunk(b"1").SerializeToString())], state="ended")
    for batch in (first, first, last, last):
        assert await store.write([batch]) == [b"OK"]
    assert (await store.read(key, 0)).messages == [b"0", b"1"]


async def test_an_answer_is_capped_in_bytes_from_its_beginning(store: AnswerStore, key: AnswerKey) -> None:
    keeper = Keeper(store, CONFIG, 5)
    assert await store.claim(key, _claim(), "a")
    log = keeper.open(key, "a")
    for _ in range(1500):
        log.put(_chunk(KIB))
        if log.num_kept % 100 == 0:
            await _flush(keeper, log)
    await _flush(keeper, log)
    reading = await store.read(key, 1499)
    assert reading.next_index == 1500
    assert 476 <= reading.first_index <= 500
    assert len(reading.messages) == 1
    assert sum(map(len, (await store.read(key, reading.first_index)).messages)) == 512 * 1024  # a page of it
    await asyncio.sleep(1.1)
    kept = await store.take_over(key, "b")
    assert kept is not None
    assert kept.next_index == 1500
    assert AnswerLog(key, "b", 2**20, lambda: None, kept).num_kept == 1500


async def test_a_lease_runs_out_unless_it_is_renewed(store: AnswerStore, key: AnswerKey) -> None:
    keeper = Keeper(store, CONFIG, 5)
    assert await store.claim(key, _claim(), "a")
    log = keeper.open(key, "a")
    writing = asyncio.create_task(keeper.run())
    await asyncio.sleep(1.5)
    assert not (await store.read(key, 0)).is_orphan
    assert await store.take_over(key, "b") is None
    writing.cancel()
    await asyncio.sleep(1.1)
    assert (await store.read(key, 0)).is_orphan
    heirs = await asyncio.gather(*(store.take_over(key, f"heir-{n}") for n in range(5)))
    assert sum(heir is not None for heir in heirs) == 1
    log.put(_chunk(b"late"))
    await _flush(keeper, log)
    assert log.is_lost
    assert (await store.read(key, 0)).messages == []


async def test_an_heir_gets_all_there_is(store: AnswerStore, key: AnswerKey) -> None:
    keeper, claim = Keeper(store, CONFIG, 5), _claim(session_id="s", request_id=key.request_id, resumable=True)
    assert await store.claim(key, claim, "a")
    log = keeper.open(key, "a")
    log.plan("e2b", "etag")
    log.put(_chunk(b"0", b"1", tokens=5))
    settling = asyncio.create_task(log.settle(_chunk(b"2")))
    await asyncio.sleep(0)
    log.release()
    await _flush(keeper, log)
    await settling
    kept = await store.take_over(key, "b")
    assert kept is not None
    assert (kept.request, kept.max_tokens_per_message, kept.is_resumable) == (claim.request, 1, True)
    assert (kept.variant, kept.etag, kept.next_index) == ("e2b", "etag", 2)
    assert (kept.chunks, kept.settled) == ((_chunk(b"0", b"1", tokens=5),), _chunk(b"2"))


async def test_a_request_that_is_too_large_is_not_kept(store: AnswerStore, key: AnswerKey) -> None:
    assert await store.claim(key, _claim(session_etag="x" * 2**20), "a")
    await asyncio.sleep(1.1)
    kept = await store.take_over(key, "b")
    assert kept is not None
    assert kept.request is None


async def test_nobody_waits_for_a_redis_that_is_gone(key: AnswerKey) -> None:
    with EmbeddedValkey() as server:
        store = AnswerStore(server.url, CONFIG, timeout_s=0.3)
        keeper = Keeper(store, CONFIG, patience_s=0.3)
        assert await store.claim(key, _claim(), "a")
        log = keeper.open(key, "a")
        writing = asyncio.create_task(keeper.run())
    log.put(_chunk(b"0"))
    with pytest.raises(Unavailable):
        async with asyncio.timeout(5):
            await log.settle(_chunk(b"1"))
    assert log.is_broken
    with pytest.raises(Unavailable, match="request_id"):
        await store.claim(key, _claim(), "b")
    writing.cancel()
    await store.close()


async def test_a_short_absence_of_redis_loses_nothing(key: AnswerKey, any_redis: RedisKind) -> None:
    store = AnswerStore(any_redis.url, CONFIG, timeout_s=30)
    keeper = Keeper(store, CONFIG, patience_s=5)
    assert await store.claim(key, _claim(), "a")
    log, write, failures = keeper.open(key, "a"), store.write, [True, True]

    async def flaky(batches: list[Batch]) -> list[bytes]:
        replies = await write(batches)  # it does arrive
        if failures:
            failures.pop()
            raise Unavailable("away")
        return replies

    store.write = flaky  # type: ignore[method-assign,assignment]
    writing = asyncio.create_task(keeper.run())
    for n in range(50):
        log.put(_chunk(b"%d" % n))
        await asyncio.sleep(0.004)
    log.end()
    async with asyncio.timeout(5):
        while not log.is_closed:
            await asyncio.sleep(0.01)
    assert (await store.read(key, 0)).messages == [b"%d" % n for n in range(50)]
    writing.cancel()
    await store.close()
