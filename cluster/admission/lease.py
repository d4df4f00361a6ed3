"""One stream of a caller, as it is counted in Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a caller may have over all gateways: streams at once, tokens a minute. 0 is any number."""

    streams: int = 0
    tokens_per_minute: int = 0

    def __bool__(self) -> bool:
        return bool(self.streams or self.tokens_per_minute)


class Lease:
    """Counts until it is ended, or its gateway has not been heard of for a while."""

    def __init__(self, lease_id: str, caller: str, limits: Limits, end: Callable[[Lease], None]) -> None:
        self.lease_id = lease_id
        self.caller = caller
        self.limits = limits
        self.uncharged = 0
        """Tokens that Redis has not been told of; less than 0 are to be given back."""
        self.lock = asyncio.Lock()
        """Held while Redis is told of it, so that it hears of an end last."""
        self.ended_at: float | None = None
        """When it was ended, of `time.monotonic()`."""
        self._end = end

    @property
    def keys(self) -> list[str]:
        """In Redis; the braces put them in one slot of Redis Cluster."""
        return [f"gemma-cluster:caller:{{{self.caller}}}:{part}" for part in ("streams", "budget")]

    def end(self) -> None:
        """The stream has ended; once is enough. Returns at once."""
        if self.ended_at is None:
            self.ended_at = time.monotonic()
            self._end(self)
