"""Laws of a session, against real Valkey servers: the same for one, with Sentinels, and in a cluster."""

import asyncio
import uuid

import pytest

from cluster.config import SessionsConfig
from cluster.errors import AlreadyExists, InvalidRequest, NotFound, SessionConflict, Unavailable
from cluster.sessions.scripts import session_keys
from cluster.sessions.store import SessionStore
from protos.gemmacluster.v1.content_pb2 import ROLE_MODEL, Content
from tests.cluster.sessions.samples import append, image, instruction, rich_turn, text
from tests.redis_kinds.kind import RedisKind

pytestmark = pytest.mark.redis

HOSTILE_IDS = ["", "a" * 129, "a b", "a\n", "\n", "a{b}", "}:{", "../x", "a*", "é", "a\0", "a\r\nFLUSHALL\r\n", "😀"]


async def test_a_new_session_is_empty_and_lives_its_ttl(store: SessionStore) -> None:
    made = await store.create("chat-1", 60, instruction("Be brief."), "e4b")
    assert await store.get("chat-1", with_contents=False) == made
    assert (made.session_id, made.turns, made.variant_pin, made.ttl_s) == ("chat-1", 0, "e4b", 60)
    assert made.system_instruction == instruction("Be brief.")
    assert made.updated_at == made.created_at
    assert made.expires_at == pytest.approx(made.created_at + 60, abs=1e-3)


async def test_defaults_are_a_random_uuid_and_the_configured_ttl(store: SessionStore) -> None:
    made = await store.create()
    assert str(uuid.UUID(made.session_id)) == made.session_id
    assert (made.ttl_s, made.variant_pin, made.system_instruction) == (24 * 3600, None, None)


async def test_an_empty_instruction_is_not_none(store: SessionStore) -> None:
    assert (await store.create("s", system_instruction=Content())).system_instruction == Content()


async def test_an_instruction_holds_text_only(store: SessionStore) -> None:
    with pytest.raises(InvalidRequest, match="system_instruction"):
        await store.create("s", system_instruction=image(b"x"))


async def test_history_comes_back_exactly_with_media(store: SessionStore) -> None:
    record = await store.create("s")
    first, second = rich_turn(), [text("and now?"), text("Rain. ☔", ROLE_MODEL)]
    record = await append(store, record, *first)
    record = await append(store, record, *second, variant="31b")
    read = await store.get("s", with_contents=True)
    assert list(read.contents or ()) == first + second
    assert read == record.with_contents(read.contents or ())
    assert (read.turns, read.variant_pin) == (2, "31b")


async def test_contents_are_read_only_when_asked_for(store: SessionStore) -> None:
    await append(store, await store.create("s"))
    assert (await store.get("s", with_contents=False)).contents is None
    assert (await store.get("s", with_contents=True)).contents == (text("hello"),)


async def test_equal_media_are_stored_and_counted_once(store: SessionStore, any_redis: RedisKind) -> None:
    pixels = bytes(100_000)
    record = await append(store, await store.create("s"), image(pixels))
    record = await append(store, record, image(pixels), image(pixels))
    assert 100_000 < record.size_bytes < 101_000
    with any_redis.client() as client:
        assert client.hlen(session_keys("s")[2]) == 1


async def test_every_turn_changes_the_etag(store: SessionStore) -> None:
    record = await store.create("s")
    etags = [record.etag]
    for _ in range(5):
        record = await append(store, record)
        etags.append(record.etag)
    assert len(set(etags)) == 6


@pytest.mark.parametrize("races", [50])
async def test_of_two_turns_at_once_exactly_one_wins_and_nothing_mixes(
    store: SessionStore, any_redis: RedisKind, races: int
) -> None:
    other_gateway = SessionStore(any_redis.url, SessionsConfig())
    record = await store.create("s")
    expected: list[Content] = []
    for race in range(races):
        turns = {name: [text(f"{name} {race}"), text(f"answer to {name}", ROLE_MODEL)] for name in ("a", "b")}
        results = await asyncio.gather(
            append(store, record, *turns["a"], request_id=f"a{race}", variant="e2b"),
            append(other_gateway, record, *turns["b"], request_id=f"b{race}", variant="e4b"),
            return_exceptions=True,
        )
        won = [name for name, result in zip("ab", results, strict=True) if not isinstance(result, BaseException)]
        assert len(won) == 1
        assert [type(result) for result in results if isinstance(result, BaseException)] == [SessionConflict]
        expected += turns[won[0]]
        record = await store.get("s", with_contents=True)
        assert list(record.contents or ()) == expected
        assert (record.turns, record.variant_pin) == (race + 1, {"a": "e2b", "b": "e4b"}[won[0]])
    await other_gateway.close()


async def test_a_conflict_says_which_etag_is_there(store: SessionStore) -> None:
    made = await store.create("s")
    now = await append(store, made)
    with pytest.raises(SessionConflict, match=f"{now.etag}, not {made.etag}") as caught:
        await append(store, made, request_id="late")
    assert caught.value.resource_name == "s"


async def test_the_same_request_stored_again_returns_the_first_result(store: SessionStore) -> None:
    made = await store.create("s")
    first = await append(store, made, text("one"), request_id="r1", variant="e4b")
    assert await append(store, made, text("one"), request_id="r1", variant="e4b") == first
    await append(store, first, text("two"), request_id="r2", variant="31b")
    replayed = await append(store, made, text("other"), request_id="r1", variant="e2b")
    assert (replayed.etag, replayed.turns, replayed.variant_pin) == (first.etag, 1, "e4b")
    assert (await store.get("s", with_contents=True)).contents == (text("one"), text("two"))


async def test_the_same_request_at_once_is_stored_once(store: SessionStore) -> None:
    made = await store.create("s")
    results = await asyncio.gather(*(append(store, made, request_id="r") for _ in range(20)))
    assert len({result.etag for result in results}) == 1
    assert (await store.get("s", with_contents=True)).contents == (text("hello"),)


async def test_an_expired_session_is_not_found(store: SessionStore) -> None:
    record = await store.create("s", 1)
    await append(store, record, image(b"x"))
    await asyncio.sleep(1.1)
    for call in (
        store.get("s", with_contents=True),
        store.get("s", with_contents=False, touch=True),
        append(store, record),
        store.delete("s"),
    ):
        with pytest.raises(NotFound, match="does not exist, or has expired"):
            await call


async def test_a_session_made_again_has_nothing_of_the_one_before(store: SessionStore) -> None:
    before = await store.create("s", 1, instruction("old"), "31b")
    after_turn = await append(store, before, image(b"x"), request_id="r")
    await asyncio.sleep(1.1)
    made = await store.create("s")
    read = await store.get("s", with_contents=True)
    assert (read.contents, read.system_instruction, read.variant_pin, read.turns) == ((), None, None, 0)
    for old in (before, after_turn):
        with pytest.raises(SessionConflict):
            await append(store, old, request_id="late")
    # Nor does it take a new request for one that the old session has answered.
    assert (await append(store, made, request_id="r")).turns == 1


async def test_a_turn_and_a_touch_begin_the_ttl_anew_and_a_read_does_not(store: SessionStore) -> None:
    made = await store.create("s", 60)
    await asyncio.sleep(0.05)
    assert (await store.get("s", with_contents=True)).expires_at == made.expires_at
    touched = await store.get("s", with_contents=True, touch=True)
    assert touched.expires_at >= made.expires_at + 0.05
    assert touched.updated_at == made.updated_at
    await asyncio.sleep(0.05)
    appended = await append(store, touched)
    assert appended.expires_at >= touched.expires_at + 0.05
    assert appended.updated_at > made.updated_at


async def test_use_keeps_every_part_of_a_session_alive(store: SessionStore) -> None:
    record = await append(store, await store.create("s", 1), image(b"x"))
    for _ in range(4):
        await asyncio.sleep(0.4)
        await store.get("s", with_contents=False, touch=True)
    assert (await store.get("s", with_contents=True)).contents == (image(b"x"),)
    assert (await append(store, record)).turns == 2


async def test_every_key_of_a_session_expires(store: SessionStore, any_redis: RedisKind) -> None:
    await append(store, await store.create("s"), image(b"x"))
    with any_redis.client() as client:
        ttls = [client.ttl(key) for key in session_keys("s")]
    assert ttls == [pytest.approx(24 * 3600, abs=2)] + [pytest.approx(24 * 3600 + 60, abs=2)] * 3


@pytest.mark.parametrize("ttl_s", [0, 0.999, -1, 86401, float("nan"), float("inf")])
async def test_a_ttl_out_of_bounds_is_refused(store: SessionStore, ttl_s: float) -> None:
    with pytest.raises(InvalidRequest, match="ttl: must be 1 to 86400 seconds"):
        await store.create("s", ttl_s)


async def test_a_taken_id_is_refused_and_left_alone(store: SessionStore) -> None:
    made = await append(store, await store.create("s"))
    with pytest.raises(AlreadyExists):
        await store.create("s", 5, instruction("mine"), "31b")
    assert await store.get("s", with_contents=False) == made


async def test_of_many_creations_at_once_one_wins(store: SessionStore) -> None:
    results = await asyncio.gather(*(store.create("s") for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, AlreadyExists) for result in results) == 19


@pytest.mark.parametrize("session_id", HOSTILE_IDS)
async def test_a_hostile_id_is_refused_by_every_method(store: SessionStore, session_id: str) -> None:
    for call in (
        store.create(session_id),
        store.get(session_id, with_contents=False),
        store.delete(session_id),
        store.append_turn(session_id, etag="e", contents=[text("x")], variant="e2b", request_id="r"),
    ):
        with pytest.raises(InvalidRequest, match="session_id"):
            await call


@pytest.mark.parametrize("session_id", ["a", "a" * 128, "A.b_c:d-9", ":", "-"])
async def test_every_allowed_id_works(store: SessionStore, session_id: str) -> None:
    await append(store, await store.create(session_id), text(session_id))
    assert (await store.get(session_id, with_contents=True)).contents == (text(session_id),)
    await store.delete(session_id)


@pytest.mark.parametrize("request_id", ["", "r" * 1000, "a\r\nb\0é"])
async def test_any_request_id_is_just_a_name(store: SessionStore, request_id: str) -> None:
    made = await store.create("s")
    assert await append(store, made, request_id=request_id) == await append(store, made, request_id=request_id)


async def test_a_deleted_session_is_gone_with_everything(store: SessionStore, any_redis: RedisKind) -> None:
    await append(store, await store.create("s", system_instruction=instruction("x")), image(b"x"))
    await store.delete("s")
    with pytest.raises(NotFound):
        await store.get("s", with_contents=False)
    with pytest.raises(NotFound):
        await store.delete("s")
    with any_redis.client() as client:
        assert list(client.scan_iter()) == []


async def test_delete_with_an_old_etag_deletes_nothing(store: SessionStore) -> None:
    made = await store.create("s")
    now = await append(store, made)
    with pytest.raises(SessionConflict):
        await store.delete("s", made.etag)
    await store.delete("s", now.etag)
    with pytest.raises(NotFound):
        await store.get("s", with_contents=False)


async def test_a_turn_over_the_size_limit_is_refused_whole(any_redis: RedisKind) -> None:
    store = SessionStore(any_redis.url, SessionsConfig(timeout_s=30, max_session_mb=1))
    record = await append(store, await store.create("s"), image(bytes(600_000)))
    with pytest.raises(InvalidRequest, match=r"would hold 1\.1 MiB, .* may hold 1 MiB"):
        await append(store, record, image(b"\1" * 600_000))
    # The same file again takes no room.
    record = await append(store, record, image(bytes(600_000)))
    read = await store.get("s", with_contents=True)
    assert (read.contents, read.turns) == ((image(bytes(600_000)),) * 2, 2)
    await store.close()


async def test_room_is_checked_before_generating(any_redis: RedisKind) -> None:
    store = SessionStore(any_redis.url, SessionsConfig(timeout_s=30, max_session_mb=1))
    record = await append(store, await store.create("s"), image(bytes(600_000)))
    store.ensure_room(record, [text("short")])
    with pytest.raises(InvalidRequest, match="start a new session"):
        store.ensure_room(record, [image(bytes(300_000))])
    await store.close()


async def test_a_session_of_another_release_is_never_misread(store: SessionStore, any_redis: RedisKind) -> None:
    record = await store.create("s")
    with any_redis.client() as client:
        client.hset(session_keys("s")[0], "v", "2")
    for call in (store.get("s", with_contents=True), append(store, record)):
        with pytest.raises(Unavailable, match="another release"):
            await call
    assert await store.list(10) == ([], "")


@pytest.mark.parametrize("part", [1, 2])
async def test_a_session_that_lost_a_part_is_not_found_rather_than_cut_short(
    store: SessionStore, any_redis: RedisKind, part: int
) -> None:
    await append(store, await store.create("s"), image(b"x"))
    with any_redis.client() as client:
        client.delete(session_keys("s")[part])
    with pytest.raises(NotFound, match="noeviction"):
        await store.get("s", with_contents=True)


async def test_a_turn_on_a_session_that_lost_its_turns_is_refused(store: SessionStore, any_redis: RedisKind) -> None:
    record = await append(store, await store.create("s"))
    with any_redis.client() as client:
        client.delete(session_keys("s")[1])
    with pytest.raises(NotFound, match="noeviction"):
        await append(store, record)
