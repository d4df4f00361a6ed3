"""A request on its way to a replica: what the request router decides by, and what it has decided."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cluster.placement.choice import ChoiceReason
from cluster.placement.prefix import pack, packed_prompt, prefix_hashes


@dataclass
class Tenure:
    """A replica's time in service, as one gateway sees it."""

    replica: str
    ends_at_s: float = math.inf
    """Of time.monotonic(): when its answers are to go on on another."""


class Placement:
    """Travels beside the request. The router, in the gateway's own process, reads and fills it; the replica gets the
    hashes, as bytes."""

    def __init__(self, hashes: Sequence[int], avoided: Collection[str] = ()) -> None:
        """`avoided` are replicas that were lost on this answer: asked only if there is no other."""
        self.hashes = hashes
        self.avoided = avoided
        self.tenure: Tenure | None = None
        self.reason: ChoiceReason | None = None

    @classmethod
    def of(cls, payload: bytes, media: Sequence[tuple[int, bytes]], avoided: Collection[str] = ()) -> Placement:
        """Of a serialised ReplicaRequest; `media` are (number of the first token, content), in order."""
        return cls(prefix_hashes(packed_prompt(payload), media), avoided)

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (pack(self.hashes),)

    @property
    def replica(self) -> str | None:
        """The replica that took the request."""
        return self.tenure.replica if self.tenure else None

    @property
    def is_over(self) -> bool:
        """True once the replica has left, and the grace of its answers has passed."""
        return self.tenure is not None and time.monotonic() >= self.tenure.ends_at_s
