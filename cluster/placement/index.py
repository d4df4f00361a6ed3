"""What each replica holds, as far as a gateway knows: what it sent there itself, and what the replica reports."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

# What was sent to a replica is in its reports no later than this.
_REPORT_LAG_S = 10.0
_MOST_HASHES = 4096


class PrefixIndex:
    """Hashes of prompts' beginnings (see `cluster.placement.prefix`) by the replica that holds their KV."""

    def __init__(self) -> None:
        self._held: dict[str, OrderedDict[int, float]] = {}

    def learn(self, replica: str, hashes: Iterable[int], now_s: float) -> None:
        """A prompt with these hashes was sent to the replica."""
        held = self._held.setdefault(replica, OrderedDict())
        for item in hashes:
            held[item] = now_s
            held.move_to_end(item)
        while len(held) > _MOST_HASHES:
            held.popitem(last=False)

    def report(self, replica: str, hashes: Iterable[int], now_s: float) -> None:
        """The replica holds these, and besides only what it was sent since it said so."""
        lately = {item: at for item, at in self._held.get(replica, {}).items() if now_s - at < _REPORT_LAG_S}
        self._held[replica] = OrderedDict.fromkeys(hashes, now_s - _REPORT_LAG_S) | lately

    def keep_only(self, replicas: Iterable[str]) -> None:
        """Forgets all replicas but these."""
        self._held = {replica: self._held[replica] for replica in replicas if replica in self._held}

    def matched(self, replica: str, hashes: Sequence[int]) -> int:
        """How many of a prompt's hashes, from the first on, are of a beginning that the replica holds.

        The longest one decides: to hold it is to hold what it begins with.
        """
        held = self._held.get(replica)
        if held is None:
            return 0
        return next((count for count in range(len(hashes), 0, -1) if hashes[count - 1] in held), 0)
