"""Every call of a session store, for tests of what they have in common."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cluster.errors import Unavailable
from cluster.sessions.store import SessionStore
from tests.cluster.sessions.samples import connections_in_use, text

TIMEOUT_S = 0.4
SLACK_S = 1.5


def every_call(store: SessionStore) -> list[Callable[[], Awaitable[Any]]]:
    """Of every kind, on a session that there may not be."""
    return [
        store.ping,
        lambda: store.create(),
        lambda: store.get("s", with_contents=False),
        lambda: store.get("s", with_contents=True, touch=True),
        lambda: store.append_turn("s", etag="e", contents=[text("x")], variant="e2b", request_id="r"),
        lambda: store.delete("s"),
        lambda: store.list(10),
    ]


async def each_is_unavailable_in_time(store: SessionStore, message: str = "Redis does not answer") -> None:
    """For a store whose deadline is TIMEOUT_S; leaks are failures too."""
    for call in every_call(store):
        started = time.monotonic()
        with pytest.raises(Unavailable, match=message) as caught:
            await call()
        assert time.monotonic() - started < TIMEOUT_S + SLACK_S
        assert "redis://" not in str(caught.value)
    assert connections_in_use(store) == 0
