"""A request on its way to a replica: what the request router decides by, and what it has decided."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from cluster.placement.choice import ChoiceReason
from cluster.placement.prefix import pack, packed_prompt, prefix_hashes
from cluster.placement.tenure import Tenure


class Placement:
    """Travels beside the request. The router, in the gateway's own process, reads and fills it; the replica gets the
    hashes, as bytes."""

    def __init__(self, hashes: Sequence[int], avoided: Collection[str] = ()) -> None:
        """`avoided` are replicas that were lost on this answer: asked only if there is no other."""
        self.hashes = hashes
        self.avoided = avoided
        self.reason: ChoiceReason | None = None
        self.is_lost = False
        self.on_lost: Callable[[], object] = lambda: None
        """Called when the replica is given up; ends the request."""
        self._tenure: Tenure | None = None

    @classmethod
    def of(cls, payload: bytes, media: Sequence[tuple[int, bytes]], avoided: Collection[str] = ()) -> Placement:
        """Of a serialised ReplicaRequest; `media` are (number of the first token, content), in order."""
        return cls(prefix_hashes(packed_prompt(payload), media), avoided)

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (pack(self.hashes),)

    def at(self, tenure: Tenure | None) -> None:
        """The request goes to this replica, if it has room, and no longer to one that had none."""
        self.leave()
        self._tenure = tenure
        if tenure is not None:
            tenure.held[self] = self._lose

    def leave(self) -> None:
        """The replica has nothing to do with the request any more."""
        if self._tenure is not None:
            self._tenure.held.pop(self, None)

    def _lose(self) -> None:
        self.is_lost = True
        self.on_lost()

    @property
    def replica(self) -> str | None:
        """The replica that was asked last."""
        return self._tenure.replica if self._tenure else None

    @property
    def is_over(self) -> bool:
        """True once the replica has left, and the grace of its answers has passed."""
        return self._tenure is not None and time.monotonic() >= self._tenure.ends_at_s
