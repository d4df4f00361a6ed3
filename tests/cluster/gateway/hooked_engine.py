"""An engine that a test can make fail, wait or end early, around a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import NoReturn

from cluster.engines.base import Engine, EngineLoad, EngineOutput, EngineRequest

Hook = Callable[[int, EngineOutput], Awaitable[None]]


class EndEarly(Exception):
    """Raised by a hook: the answer ends here, without a finish reason."""


class HookedEngine(Engine):
    """Calls `hook(index, output)` before each output; `requests` are those it was asked."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self.hook: Hook | None = None
        self.requests: list[EngineRequest] = []

    async def start(self) -> None:
        await self._inner.start()

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineOutput, None]:
        self.requests.append(request)
        index = 0
        async with aclosing(self._inner.generate(request)) as outputs:
            async for output in outputs:
                try:
                    if self.hook is not None:
                        await self.hook(index, output)
                except EndEarly:
                    return
                yield output
                index += 1

    def load(self) -> EngineLoad:
        return self._inner.load()

    async def check_health(self) -> None:
        await self._inner.check_health()

    async def stop(self) -> None:
        await self._inner.stop()


def fail_at(index: int, error: Exception) -> Hook:
    """A hook that raises instead of the output of that index."""

    async def hook(at: int, output: EngineOutput) -> None:
        if at == index:
            # What came before shall be on its way first, as it would be with a slow model.
            await asyncio.sleep(0.05)
            raise error

    return hook


async def never(index: int, output: EngineOutput) -> NoReturn:
    """A hook that lets no output through."""
    await asyncio.Event().wait()
    raise AssertionError("nothing sets the event")
