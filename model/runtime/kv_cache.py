"""Keys and values of the running sequences: one row per sequence in every layer that owns its own.

A layer with a sliding window keeps a ring of that many tokens; layers that read another's keep nothing.
Rows are dense: the scheduler keeps running sequences in rows 0..n-1, so a batch is a slice.
Shapes: R rows, L tokens per row, K key/value heads, E head dimension.
"""

import torch
from torch import Tensor

from model.config import LayerSpec, TextConfig
from model.runtime.config import RuntimeConfig

_SMALLEST_ROW = 64


class LayerStore:
    """One layer's keys and values, [R, L, K, E] each; token p of a row lies at entry p % L."""

    def __init__(self, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> None:
        self._window = spec.window
        self.keys = torch.zeros(0, 0, spec.num_kv_heads, spec.head_dim, dtype=dtype, device=device)
        self.values = self.keys

    @property
    def is_local(self) -> bool:
        return self._window is not None

    @property
    def num_bytes(self) -> int:
        return 2 * self.keys.nbytes

    def enlarged(self, rows: int, entries: int) -> tuple[Tensor, Tensor]:
        """Copies of keys and values with another number of rows and entries."""
        entries = entries if self._window is None else min(entries, self._window)
        return _resized(self.keys, rows, entries), _resized(self.values, rows, entries)


class SlotCache:
    """All layers' stores, resized together and never beyond the token budget.

    While it grows, old and new tensors exist side by side for a moment. Memory follows the number of running
    sequences and the longest of them, not `max_context`.
    """

    def __init__(self, text: TextConfig, config: RuntimeConfig, dtype: torch.dtype, device: torch.device) -> None:
        self.layers = {spec.index: LayerStore(spec, dtype, device) for spec in text.layers if spec.kv_source is None}
        self.window = text.sliding_window
        # The window layers that others read: their ring forgets, so a prefill keeps what it saw for them.
        self.shared_layers = {spec.kv_source for spec in text.layers if spec.kv_source is not None}
        self._config = config
        self.rows = 0
        self.entries = 0

    @property
    def num_bytes(self) -> int:
        return sum(store.num_bytes for store in self.layers.values())

    @property
    def ring(self) -> int:
        """Entries per row of the window layers."""
        return min(self.entries, self.window)

    def fits(self, rows: int, length: int) -> bool:
        """May this many sequences, the longest of `length` tokens, be held at once?"""
        return rows * length <= self._config.kv_tokens

    @torch.inference_mode()
    def reserve(self, rows: int, length: int) -> None:
        """Makes room for them; contents of the rows stay. The caller has asked `fits`."""
        if rows <= self.rows and length <= self.entries:
            return
        self.rows, self.entries = self._grow(self._shape(rows, length))

    @torch.inference_mode()
    def move(self, source: int, target: int, length: int) -> None:
        """Copies one row of `length` tokens over another."""
        for store in self.layers.values():
            used = min(length, store.keys.shape[1])
            store.keys[target, :used] = store.keys[source, :used]
            store.values[target, :used] = store.values[source, :used]

    def _shape(self, rows: int, length: int) -> tuple[int, int]:
        """Room to spare if the budget has it, so that growing is rare."""
        budget = self._config.kv_tokens
        wide = min(self._config.max_batch_size, max(self.rows, _power_of_two(rows)))
        long = min(self._config.max_context, max(self.entries, _SMALLEST_ROW, _power_of_two(length)))
        return (wide, long) if wide * long <= budget else (rows, min(long, budget // rows))

    def _grow(self, shape: tuple[int, int]) -> tuple[int, int]:
        # All before any: a failed allocation leaves the cache as it was.
        grown = [(store, *store.enlarged(*shape)) for store in self.layers.values()]
        for store, keys, values in grown:
            store.keys, store.values = keys, values
        return shape


def _resized(old_RLKE: Tensor, rows: int, entries: int) -> Tensor:
    # Zeros, not garbage: a masked entry has weight 0, and 0 times NaN would still be NaN.
    new_RLKE = old_RLKE.new_zeros(rows, entries, *old_RLKE.shape[2:])
    kept = (slice(min(rows, old_RLKE.shape[0])), slice(min(entries, old_RLKE.shape[1])))
    new_RLKE[kept] = old_RLKE[kept]
    return new_RLKE


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
