"""A page of sessions, read from the index; dead members are removed on the way."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from cluster.sessions import index, scripts
from cluster.sessions.index import Member
from cluster.sessions.record import SessionRecord, from_fields

_BATCH = 128
# A page ends early rather than read more than this, whatever the index holds.
_MAX_BATCHES = 16
_MAX_BYTES = 8 * 1024 * 1024


async def read_page(client: Redis, page_size: int, last: Member | None) -> tuple[list[SessionRecord], Member | None]:
    """Up to `page_size` sessions after `last`, newest first, and what the next page follows, if there is one."""
    found: list[SessionRecord] = []
    for _ in range(_MAX_BATCHES):
        members = await index.before(client, last, _BATCH)
        found += await _living(client, members)
        last = members[-1] if members else last
        if len(found) > page_size:
            return found[:page_size], member_of(found[page_size - 1])
        if len(members) < _BATCH:
            return found, None
        if sum(record.system_instruction.ByteSize() for record in found if record.system_instruction) > _MAX_BYTES:
            break
    return found, last


async def prune(client: Redis) -> None:
    """Looks at a few members at random and removes the dead.

    Each create does it, so the dead stay a fraction of the index though nobody lists.
    """
    members = await index.sample(client)
    async with client.pipeline(transaction=False) as pipe:
        for member in members:
            pipe.hget(scripts.session_keys(member.session_id)[0], "created_us")
        created = await pipe.execute()
    dead = [member for member, us in zip(members, created, strict=True) if us is None or int(us) != member.created_us]
    await index.remove(client, dead)


def member_of(record: SessionRecord) -> Member:
    """The index member of a session."""
    return Member(round(record.created_at * 1e6), record.session_id)


async def _living(client: Redis, members: Sequence[Member]) -> list[SessionRecord]:
    async with client.pipeline(transaction=False) as pipe:
        for member in members:
            pipe.hgetall(scripts.session_keys(member.session_id)[0])
        metas = await pipe.execute()
    dead, living = [], []
    for member, fields in zip(members, metas, strict=True):
        if not fields or int(fields[b"created_us"]) != member.created_us:
            dead.append(member)
        elif fields[b"v"].decode() == scripts.SCHEMA:
            living.append(from_fields(member.session_id, fields))
    await index.remove(client, dead)
    return living
