"""One stream of a caller, as it is counted in Redis."""

from __future__ import annotations

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
        self._end = end
        self._is_ended = False

    @property
    def keys(self) -> list[str]:
        """In Redis; the braces put them in one slot of Redis Cluster."""
        return [f"gemma-cluster:caller:{{{self.caller}}}:{part}" for part in ("streams", "budget")]

    def end(self) -> None:
        """The stream has ended; once is enough. Returns at once."""
        if not self._is_ended:
            self._is_ended = True
            self._end(self)
