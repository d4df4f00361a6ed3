"""SIGTERM of a Ray worker, which would end it at once: here it ends once it has drained."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import ray._private.worker as ray_worker

_RAYS_OWN = "raise_sys_exit_with_custom_error_message"


def drain_on_sigterm(drain: Callable[[], Awaitable[object]]) -> None:
    """At a SIGTERM runs `drain` on this event loop, and then ends the process. Further ones change nothing.

    Ray's handler is set, and runs, in a worker's main thread, where no code of an actor ever does; so this takes the
    place of what that handler calls.
    """
    loop = asyncio.get_running_loop()
    getattr(ray_worker, _RAYS_OWN)  # A Ray without it is not the one that this is for.
    tasks: list[asyncio.Task[None]] = []

    def begin() -> None:
        if not tasks:
            tasks.append(loop.create_task(_drain_and_end(drain)))

    def handle(*_arguments: object, **_named: object) -> None:
        loop.call_soon_threadsafe(begin)

    setattr(ray_worker, _RAYS_OWN, handle)


async def _drain_and_end(drain: Callable[[], Awaitable[object]]) -> None:
    """Ray's own end would wait for the calls that a handle of Serve always has in flight."""
    try:
        await drain()
    finally:
        os._exit(0)
