"""SIGTERM of a Ray worker, which would end it at once: here it ends once it has drained."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import ray._private.worker as ray_worker

_RAYS_OWN = "raise_sys_exit_with_custom_error_message"


def drain_on_sigterm(drain: Callable[[], Awaitable[object]]) -> None:
    """At a SIGTERM runs `drain` on this event loop, and then lets Ray end the process. Further ones change nothing.

    Ray's handler is set, and runs, in a worker's main thread, where no code of an actor ever does; so this takes the
    place of what that handler calls.
    """
    loop, originally = asyncio.get_running_loop(), getattr(ray_worker, _RAYS_OWN)
    tasks: list[asyncio.Task[None]] = []

    def begin() -> None:
        if not tasks:
            tasks.append(loop.create_task(_drain_and_end(drain, originally)))

    def handle(*_arguments: object, **_named: object) -> None:
        loop.call_soon_threadsafe(begin)

    setattr(ray_worker, _RAYS_OWN, handle)


async def _drain_and_end(drain: Callable[[], Awaitable[object]], originally: Callable[..., object]) -> None:
    try:
        await drain()
    finally:
        setattr(ray_worker, _RAYS_OWN, originally)
        os.kill(os.getpid(), signal.SIGTERM)
