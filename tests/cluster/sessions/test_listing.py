"""Listing: newest first, in pages that stay true while sessions come and go."""

import asyncio
import random

import pytest

from cluster.errors import InvalidRequest
from cluster.sessions import index, listing
from cluster.sessions.index import Member
from cluster.sessions.store import SessionStore
from tests.cluster.sessions.samples import append, instruction
from tests.redis_kinds.kind import RedisKind

pytestmark = pytest.mark.redis


async def _make(store: SessionStore, count: int, prefix: str = "s") -> list[str]:
    """Makes sessions one after another; returns their ids, newest first."""
    names = [f"{prefix}{number}" for number in range(count)]
    for name in names:
        await store.create(name)
    return names[::-1]


async def _walk(store: SessionStore, page_size: int) -> list[list[str]]:
    pages, token = [], ""
    while True:
        records, token = await store.list(page_size, token)
        pages.append([record.session_id for record in records])
        if not token:
            return pages


def _joined(pages: list[list[str]]) -> list[str]:
    return [name for page in pages for name in page]


async def test_nothing_lists_as_one_empty_page(store: SessionStore) -> None:
    assert await store.list(10) == ([], "")


async def test_records_are_those_that_get_returns(store: SessionStore) -> None:
    await append(store, await store.create("s", 60, instruction("x"), "e2b"))
    assert await store.list(10) == ([await store.get("s", with_contents=False)], "")


@pytest.mark.parametrize(("page_size", "sizes"), [(1, [1] * 6), (2, [2, 2, 2]), (4, [4, 2]), (6, [6]), (1000, [6])])
async def test_pages_are_newest_first_and_the_last_has_no_token(
    store: SessionStore, page_size: int, sizes: list[int]
) -> None:
    names = await _make(store, 6)
    pages = await _walk(store, page_size)
    assert [len(page) for page in pages] == sizes
    assert _joined(pages) == names


async def test_a_used_session_keeps_its_place(store: SessionStore) -> None:
    names = await _make(store, 3)
    await append(store, await store.get("s0", with_contents=False))
    assert await _walk(store, 10) == [names]


async def test_sessions_made_between_pages_show_on_no_later_page(store: SessionStore) -> None:
    names = await _make(store, 6)
    first, token = await store.list(2)
    await _make(store, 5, "new")
    second, token = await store.list(2, token)
    third, token = await store.list(2, token)
    assert [record.session_id for record in [*first, *second, *third]] == names
    assert token == ""


async def test_sessions_deleted_between_pages_cost_no_other_its_place(store: SessionStore) -> None:
    names = await _make(store, 8)
    first, token = await store.list(3)
    for name in (names[1], names[2], names[3], names[5]):  # the token's own session is among them
        await store.delete(name)
    rest, token = await store.list(10, token)
    assert [record.session_id for record in first] == names[:3]
    assert [record.session_id for record in rest] == [names[4], names[6], names[7]]
    assert token == ""


async def test_a_session_made_again_is_listed_once_as_the_newest(store: SessionStore) -> None:
    await _make(store, 3)
    await store.delete("s0")
    await store.create("s0")
    assert await _walk(store, 10) == [["s0", "s2", "s1"]]


async def test_expired_sessions_are_not_listed_and_leave_the_index(store: SessionStore, any_redis: RedisKind) -> None:
    await asyncio.gather(*(store.create(f"short{number}", 1) for number in range(20)))
    await store.create("long")
    await asyncio.sleep(1.1)
    assert await _walk(store, 2) == [["long"]]
    with any_redis.client() as client:
        assert client.zcard(index.KEY) == 1


async def test_the_dead_stay_few_though_nobody_lists(store: SessionStore, any_redis: RedisKind) -> None:
    with any_redis.client() as client:
        client.zadd(index.KEY, {Member(number, f"dead{number}").encode(): 0 for number in range(300)})
        await _make(store, 100)
        assert client.zcard(index.KEY) < 150


async def test_a_page_ends_early_rather_than_search_without_end(
    store: SessionStore, any_redis: RedisKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_BATCH", 5)
    monkeypatch.setattr(listing, "_MAX_BATCHES", 2)
    await store.create("oldest")
    with any_redis.client() as client:
        now = 10**16
        client.zadd(index.KEY, {Member(now + number, "dead").encode(): 0 for number in range(12)})
    assert await _walk(store, 3) == [[], ["oldest"]]


async def test_a_page_ends_early_rather_than_grow_too_large(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_BATCH", 2)
    monkeypatch.setattr(listing, "_MAX_BYTES", 1000)
    for number in range(5):
        await store.create(f"s{number}", system_instruction=instruction("x" * 600))
    assert await _walk(store, 100) == [["s4", "s3"], ["s2", "s1"], ["s0"]]


async def test_a_session_whose_creation_was_cut_short_is_listed_from_its_first_turn(
    store: SessionStore, any_redis: RedisKind
) -> None:
    record = await store.create("s")
    with any_redis.client() as client:
        client.delete(index.KEY)
    assert await _walk(store, 10) == [[]]
    await append(store, record)
    assert await _walk(store, 10) == [["s"]]


async def test_walking_while_others_come_and_go_meets_each_lasting_session_once(store: SessionStore) -> None:
    lasting = await _make(store, 40, "lasting")
    chance = random.Random(7)
    walking = asyncio.create_task(_walk(store, 3))
    number = 0
    while not walking.done():
        await store.create(f"passing{number}")
        if chance.random() < 0.7:
            await store.delete(f"passing{number}")
        number += 1
    names = _joined(await walking)
    assert [name for name in names if name.startswith("lasting")] == lasting
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("page_size", [0, -1, 1001])
async def test_a_page_size_out_of_bounds_is_refused(store: SessionStore, page_size: int) -> None:
    with pytest.raises(InvalidRequest, match="page_size: must be 1 to 1000"):
        await store.list(page_size)


async def test_an_index_entry_of_an_earlier_life_lists_no_session_twice(
    store: SessionStore, any_redis: RedisKind
) -> None:
    await store.create("s")
    with any_redis.client() as client:
        client.zadd(index.KEY, {Member(1, "s").encode(): 0})
    assert await _walk(store, 10) == [["s"]]
