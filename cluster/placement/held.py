"""What a replica tells of its KV cache: hashes of the prompts' beginnings that it still holds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

from cluster.placement.prefix import boundary_bytes, pack

# Token ids of the family's vocabulary take two to three bytes.
_BYTES_A_TOKEN = 2.5
_MOST_REPORTED = 512


class HeldPrefixes:
    """The latest prompts, as many as fit the engine's KV cache; it forgets what it used longest ago, and so does this.

    Engines have page tables of their own making, each; this tells as much from outside, for all of them.
    """

    def __init__(self) -> None:
        self._num_bytes: OrderedDict[int, int] = OrderedDict()
        self._sum = 0

    def used(self, hashes: Sequence[int], capacity_tokens: int) -> None:
        """A prompt was computed, or found, in a cache that holds so many tokens."""
        # The deepest first, so that it is forgotten first: without its beginning it is worth nothing.
        for count in range(len(hashes), 0, -1):
            num_bytes = boundary_bytes(count) - boundary_bytes(count - 1)
            self._sum += num_bytes - self._num_bytes.pop(hashes[count - 1], 0)
            self._num_bytes[hashes[count - 1]] = num_bytes
        while self._sum > capacity_tokens * _BYTES_A_TOKEN:
            self._sum -= self._num_bytes.popitem(last=False)[1]

    def packed(self) -> bytes:
        """The hashes, those used last first, at most 512, 8 bytes each."""
        return pack(islice(reversed(self._num_bytes), _MOST_REPORTED))
