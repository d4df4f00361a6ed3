"""One GPU's memory when `ranks` of them hold a variant: what each thing takes, and what is left for keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.planning.weights import Part


@dataclass(frozen=True)
class Layout:
    """Bytes on each rank.

    `kv_bytes` are left for the KV cache, below 0 if the rest does not fit. The first sequence of full length takes
    `first_bytes`, being prefilled; each further one `next_bytes`; `most_sequences` are decoded together. `owners` of
    the ranks hold sequences of their own, else all ranks hold a part of each.
    """

    ranks: int
    context: int
    usable_bytes: int
    weights: Mapping[Part, int]
    rope_bytes: int
    activation_bytes: int
    graph_bytes: int
    runtime_bytes: int
    reserve_bytes: int
    first_bytes: int
    next_bytes: int
    most_sequences: int
    owners: int = 1

    @property
    def weight_bytes(self) -> int:
        """All weights, and the tables made from them at load."""
        return sum(self.weights.values()) + self.rope_bytes

    @property
    def kv_bytes(self) -> int:
        """What is left for keys and values."""
        taken = self.weight_bytes + self.activation_bytes + self.graph_bytes + self.runtime_bytes + self.reserve_bytes
        return self.usable_bytes - taken

    @property
    def fits(self) -> bool:
        """Can one sequence of full length be answered?"""
        return self.kv_bytes >= self.first_bytes

    @property
    def missing_bytes(self) -> int:
        """What each GPU lacks, 0 if it fits."""
        return max(0, self.first_bytes - self.kv_bytes)

    @property
    def kv_tokens(self) -> int:
        """Tokens that sequences of full length hold together; 0 if not one fits."""
        return int(self.owners * self._full_sequences() * self.context) if self.fits else 0

    @property
    def sequences(self) -> int:
        """Sequences of full length at once, up to the batch; shorter ones are more."""
        return min(self.most_sequences, self.owners * int(self._full_sequences())) if self.fits else 0

    def _full_sequences(self) -> float:
        """Of one owner."""
        return 1 + (self.kv_bytes - self.first_bytes) / self.next_bytes
