"""All sessions, newest first: a sorted set whose members begin with the creation time.

Scores are all 0, so members sort by their bytes, and a member itself is an exact place to go on from: pages
stay stable whatever is made or deleted meanwhile. A member names one life of a session, so removing a dead one
can never hide a session made again under the same id. Redis Cluster cannot change the index and a session in one
step; the session is the truth, and dead members are removed as they are met.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from redis.asyncio import Redis

from cluster.errors import InvalidRequest

KEY = "gemma-cluster:sessions"
_SAMPLE = 8
_TIME_DIGITS = 17


@dataclass(frozen=True, order=True)
class Member:
    """One life of a session."""

    created_us: int
    session_id: str

    def encode(self) -> bytes:
        """As the index holds it."""
        return f"{self.created_us:0{_TIME_DIGITS}d}:{self.session_id}".encode()

    @staticmethod
    def decode(raw: bytes) -> Member:
        """Raises ValueError when `raw` is no member."""
        created_us, _, session_id = raw.decode("ascii").partition(":")
        if len(created_us) != _TIME_DIGITS or not created_us.isdigit() or not session_id:
            raise ValueError("not a member")
        return Member(int(created_us), session_id)


async def add(client: Redis, member: Member) -> None:
    """Adds a member; does nothing when it is there."""
    await client.zadd(KEY, {member.encode(): 0})


async def remove(client: Redis, members: Iterable[Member]) -> None:
    """Removes members."""
    raw = [member.encode() for member in members]
    if raw:
        await client.zrem(KEY, *raw)


async def before(client: Redis, last: Member | None, count: int) -> list[Member]:
    """Up to `count` members, newest first, from after `last`, else from the newest."""
    start = b"+" if last is None else b"(" + last.encode()
    return _decoded(await client.zrevrangebylex(KEY, start, b"-", start=0, num=count))


async def sample(client: Redis) -> list[Member]:
    """A few members at random."""
    return _decoded(await client.zrandmember(KEY, _SAMPLE) or ())


def page_token(last: Member) -> str:
    """Opaque token for the page after `last`."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def parse_page_token(token: str) -> Member | None:
    """The member a token stands for; None for "". Raises InvalidRequest when it is no token of ours."""
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        return Member.decode(raw)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest.of("page_token", "must be a next_page_token of ListSessions") from error


def _decoded(raw: Iterable[object]) -> list[Member]:
    return [Member.decode(item) for item in raw if isinstance(item, bytes)]
