"""Contents and helpers that the session tests share."""

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from cluster.errors import Unavailable
from cluster.sessions.record import SessionRecord
from cluster.sessions.sharded_cluster import ShardedCluster
from cluster.sessions.single_server import SingleServer
from cluster.sessions.store import SessionStore
from protos.gemmacluster.v1.content_pb2 import (
    ROLE_MODEL,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Blob,
    Content,
    FunctionCall,
    FunctionResponse,
    Part,
)

T = TypeVar("T")


def text(value: str, role: Any = ROLE_USER) -> Content:
    """A content of one text part."""
    return Content(role=role, parts=[Part(text=value)])


def image(data: bytes) -> Content:
    """A user's content with an image."""
    blob = Blob(mime_type="image/png", data=data)
    return Content(role=ROLE_USER, parts=[Part(text="look:"), Part(inline_data=blob)])


def instruction(value: str) -> Content:
    """A system instruction."""
    return text(value, ROLE_SYSTEM)


def rich_turn() -> list[Content]:
    """A turn with every kind of part."""
    call = FunctionCall(id="1", name="weather")
    call.args.update({"city": "Zürich", "days": 3, "nested": {"deep": [1, None, True]}})
    response = FunctionResponse(id="1", name="weather")
    response.response.update({"sky": "☁"})
    return [
        image(b"\x89PNG\x00\xff" * 100),
        Content(role=ROLE_MODEL, parts=[Part(text="thinking…", thought=True), Part(function_call=call)]),
        Content(role=ROLE_TOOL, parts=[Part(function_response=response)]),
        text("It is cloudy.", ROLE_MODEL),
    ]


async def append(store: SessionStore, record: SessionRecord, *contents: Content, **options: Any) -> SessionRecord:
    """Stores a turn on top of `record`."""
    arguments = {
        "variant": "e2b",
        "request_id": f"after-{record.etag}",
        "etag": record.etag,
        "before": record,
        **options,
    }
    return await store.append_turn(record.session_id, contents=contents or [text("hello")], **arguments)


async def eventually_gone(pid: int, timeout_s: float = 5) -> bool:
    """True when the process has ended, or is a zombie, within the timeout."""
    for _ in range(int(timeout_s / 0.02)):
        if _has_ended(pid):
            return True
        await asyncio.sleep(0.02)
    return False


async def eventually(call: Callable[[], Awaitable[T]], timeout_s: float = 120) -> tuple[T, int]:
    """What `call` returns once it does, and how often it was Unavailable before, the only failure it may have."""
    async with asyncio.timeout(timeout_s):
        for failures in itertools.count():
            try:
                return await call(), failures
            except Unavailable:
                await asyncio.sleep(0.1)
    raise AssertionError


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def connections_in_use(store: SessionStore) -> int:
    """Connections that some operation holds right now."""
    service = store._redis._service
    if isinstance(service, ShardedCluster):
        nodes = service._client.nodes_manager.nodes_cache.values()
        return sum(len(node._connections) - len(node._free) for node in nodes)
    assert isinstance(service, SingleServer)
    return len(service._pool._in_use_connections)


def _has_ended(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
