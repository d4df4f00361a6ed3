"""Gives the memory of many streams back once they have ended: of itself the process would keep it for the next ones."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable

_PERIOD_S = 1.0
# Fewer leave too little behind to stop the others for.
_MANY = 500


class Housekeeping:
    """Looks how many requests are in flight, and cleans up once they are less than half of what they were, and no
    longer fall."""

    def __init__(self, in_flight: Callable[[], int], period_s: float = _PERIOD_S) -> None:
        self._in_flight, self._period_s = in_flight, period_s
        self._most = self._last = 0

    async def run(self) -> None:
        """For ever."""
        # What is there by now stays: a collection need not look at it, and is short.
        gc.freeze()
        while True:
            await asyncio.sleep(self._period_s)
            if self._is_time():
                await asyncio.to_thread(_clean_up)

    def _is_time(self) -> bool:
        now, before = self._in_flight(), self._last
        self._last, self._most = now, max(self._most, now)
        if self._most < _MANY or now >= self._most / 2 or now < before:
            return False
        self._most = now
        return True


def _clean_up() -> None:
    gc.collect()
    # glibc's alone keeps freed pages, and has this to give them back.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
