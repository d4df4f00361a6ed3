"""How a replica leaves at SIGTERM: it takes nothing new, and what runs ends here or goes on on another."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from cluster.errors import ReplicaLeaves

_POLL_S = 0.05
# For the answers that are handed over to be told so.
_LAST_WORDS_S = 1.0


class Leave:
    """Not begun until `run`, and never revoked."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._ends_at_s = math.inf

    @property
    def is_over(self) -> bool:
        """True when answers must go on elsewhere."""
        return time.monotonic() >= self._ends_at_s

    @property
    def has_begun(self) -> bool:
        """True when new requests must go elsewhere."""
        return self._ends_at_s < math.inf

    def error(self) -> ReplicaLeaves:
        """What the gateway is told, which then asks another replica."""
        return ReplicaLeaves("this replica leaves")

    async def run(self, num_running: Callable[[], int]) -> None:
        """Returns when nothing runs any more, or the grace and a little more has passed."""
        self._ends_at_s = time.monotonic() + self._grace_s
        while num_running() and time.monotonic() < self._ends_at_s + _LAST_WORDS_S:
            await asyncio.sleep(_POLL_S)
