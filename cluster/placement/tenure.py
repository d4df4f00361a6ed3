"""A replica's time in service, as one gateway sees it, and the requests that are there."""

from __future__ import annotations

import math
from collections.abc import Callable


class Tenure:
    """`ends_at_s`, of time.monotonic(), is when the replica's answers are to go on on another."""

    def __init__(self, replica: str, ends_at_s: float = math.inf) -> None:
        self.replica = replica
        self.ends_at_s = ends_at_s
        self.is_silent = False
        """True while the replica gives no sign of life."""
        self.held: dict[object, Callable[[], None]] = {}
        """The requests that are there, each with what gives it up."""

    @property
    def is_watched(self) -> bool:
        """True until the replica has left, and all its requests have ended."""
        return self.ends_at_s == math.inf or bool(self.held)

    def give_up(self) -> None:
        """Nothing comes from it: what it has must go on on another."""
        self.is_silent = True
        for lose in tuple(self.held.values()):
            lose()
