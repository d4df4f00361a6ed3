"""What admission has to know of a call: who makes it, and until when."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """`deadline` is of `time.monotonic()`; None for none. `metadata` and `peer` are gRPC's."""

    metadata: Iterable[tuple[str, str | bytes]] = ()
    peer: str = ""
    deadline: float | None = None

    @classmethod
    def arriving(cls, metadata: Iterable[tuple[str, str | bytes]] | None, peer: str, remaining_s: float | None) -> Call:
        """A call that has so many seconds left now."""
        return cls(metadata or (), peer, None if remaining_s is None else time.monotonic() + remaining_s)
