"""Keys and values of all sequences, in pages: those of running sequences, and those kept for prompts that begin alike.

Layers that read another's keep nothing. Shapes: S slots (pages times tokens per page), n tokens, K key/value heads,
E head dimension.
"""

import math

import numpy as np
import torch
from torch import Tensor

from model.config import LayerSpec, TextConfig
from model.runtime.config import RuntimeConfig
from model.runtime.page_group import PageGroup
from model.runtime.sequence import Sequence

# Longest image of any checkpoint, in tokens: such an image is computed in one pass.
_LONGEST_IMAGE = 1120


class LayerStore:
    """One layer's keys and values side by side, [S, 2, K, E]."""

    def __init__(self, spec: LayerSpec, group: PageGroup, dtype: torch.dtype, device: torch.device) -> None:
        self.group = group
        num_slots = group.pool.num_pages * group.page_size
        self.kv_S2KE = _zeros((num_slots, 2, spec.num_kv_heads, spec.head_dim), dtype, device)

    @property
    def num_bytes_per_page(self) -> int:
        return self.kv_S2KE[: self.group.page_size].nbytes

    def write(self, slots_n: Tensor, k_nKE: Tensor, v_nKE: Tensor) -> None:
        """Puts keys and values into slots."""
        self.kv_S2KE.index_copy_(0, slots_n, torch.stack((k_nKE, v_nKE), 1))

    def read(self, slots_n: Tensor) -> Tensor:
        """A copy of what slots hold, [n, 2, K, E]."""
        return self.kv_S2KE.index_select(0, slots_n)

    def read_into(self, scratch: "Scratch", slots_n: Tensor) -> Tensor:
        """The same, in memory that is at hand: taking fresh memory costs more than the copy."""
        out_n2KE = scratch.take((len(slots_n), *self.kv_S2KE.shape[1:]), self.kv_S2KE)
        return torch.index_select(self.kv_S2KE, 0, slots_n, out=out_n2KE)


class Scratch:
    """Memory for one tensor at a time, kept between uses."""

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this shape whose content is whatever was there before."""
        count = math.prod(shape)
        if self._memory is None or self._memory.numel() < count:
            self._memory = None  # first the old goes, then the new comes
            self._memory = like.new_empty(count * 5 // 4)
        return self._memory[:count].view(shape)


class PagedCache:
    """Page tables and stores of all layers that own keys and values.

    A sequence has a row from `admit` to `free`. Its pages live on after that as long as nobody needs the room, and a
    prompt that begins alike takes them over instead of computing them. Layers with a sliding window have pages of
    their own, of which a sequence holds only those in the window; their pool is smaller.
    """

    def __init__(self, text: TextConfig, config: RuntimeConfig, dtype: torch.dtype, device: torch.device) -> None:
        self.page_size = config.page_size
        self.has_prefix_cache = config.has_prefix_cache
        owners = [spec for spec in text.layers if spec.kv_source is None]
        self._groups = {window: _group(window, config) for window in {spec.window for spec in owners}}
        self.layers = {spec.index: LayerStore(spec, self._groups[spec.window], dtype, device) for spec in owners}
        # The layers that others read: a pass keeps what it read of them.
        self.shared_layers = {spec.kv_source for spec in text.layers if spec.kv_source is not None}
        # What a shared layer gathers must last until the pass ends.
        common = Scratch()
        self._scratch = {layer: Scratch() if layer in self.shared_layers else common for layer in self.layers}
        self._idle_rows = list(range(config.max_batch_size - 1, -1, -1))

    @property
    def num_bytes(self) -> int:
        """Memory of the pages that hold something."""
        return sum(store.group.pool.num_used * store.num_bytes_per_page for store in self.layers.values())

    def group(self, window: int | None) -> PageGroup:
        """The page tables of the layers with this window."""
        return self._groups[window]

    def gather(self, layer: int, slots_n: Tensor) -> Tensor:
        """What slots of a layer hold, [n, 2, K, E]: until the next call, or the next for this layer if it is shared."""
        return self.layers[layer].read_into(self._scratch[layer], slots_n)

    def admit(self, sequence: Sequence) -> bool:
        """Gives a sequence a row, and the cached pages that its tokens begin with.

        False, and nothing changed, if no row is idle or the rest of its tokens does not fit.
        """
        if not self._idle_rows:
            return False
        row = self._idle_rows.pop()
        keys = self._cached_prefix(sequence)
        for group in self._groups.values():
            group.adopt(row, keys)
        sequence.row = row
        sequence.num_cached = sequence.num_slots = len(keys) * self.page_size
        if self._fits(sequence, len(sequence.tokens)):
            return True
        self.free(sequence)
        return False

    def extend(self, sequence: Sequence, length: int) -> bool:
        """Makes room for `length` tokens in all. False, and nothing changed, if there is none."""
        if length <= sequence.num_slots:
            return True
        lacking = [group for group in self._groups.values() if group.num_missing(sequence.row, length)]
        if any(group.num_missing(sequence.row, length) > group.pool.num_free for group in lacking):
            return False
        for group in lacking:
            group.extend(sequence.row, length)
        sequence.num_slots = -(-length // self.page_size) * self.page_size
        return True

    def advance(self, sequence: Sequence, size: int) -> None:
        """Counts `size` more tokens as computed: full pages can be found now, pages out of the window are free."""
        before = sequence.num_cached // self.page_size
        sequence.num_cached += size
        if sequence.num_cached // self.page_size == before:
            return
        for group in self._groups.values():
            if self.has_prefix_cache:
                group.publish(sequence.row, sequence.num_cached, sequence.page_keys(self.page_size))
            group.forget_unseen(sequence.row, sequence.num_cached)

    def free(self, sequence: Sequence) -> None:
        """Takes a sequence's row; nothing of it counts as computed any more."""
        for group in self._groups.values():
            group.free(sequence.row)
        self._idle_rows.append(sequence.row)
        sequence.row, sequence.num_cached, sequence.num_slots = -1, 0, 0

    def _cached_prefix(self, sequence: Sequence) -> list[bytes]:
        """Keys of the longest cached prefix. At least one token is left to compute: its logits are wanted."""
        if not self.has_prefix_cache:
            return []
        keys = sequence.page_keys(self.page_size).first((len(sequence.tokens) - 1) // self.page_size)
        usable = zip(*(group.reusable(keys) for group in self._groups.values()), strict=True)
        return keys[: max(count for count, found in enumerate(usable) if all(found))]

    def _fits(self, sequence: Sequence, length: int) -> bool:
        """Are there pages for all tokens? Of windowed layers they come and go, so only the others count."""
        groups = [group for group in self._groups.values() if group.window is None]
        return all(group.num_missing(sequence.row, length) <= group.pool.num_free for group in groups)


def _group(window: int | None, config: RuntimeConfig) -> PageGroup:
    size, rows = config.page_size, config.max_batch_size
    num_pages = math.ceil(config.kv_tokens / size)
    if window is not None:
        num_pages = min(num_pages, windowed_pages(window, config))
    return PageGroup(num_pages, rows, config.max_context, size, window)


def windowed_pages(window: int, config: RuntimeConfig) -> int:
    """Most pages of layers with a window: what all rows see, as much again for prefixes, and what one pass fills."""
    seen = math.ceil(window / config.page_size) + 1
    filled = math.ceil(max(config.prefill_tokens, _LONGEST_IMAGE) / config.page_size)
    return config.max_batch_size * (2 * seen + 1) + filled


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros: a masked slot has weight 0, and 0 times NaN would still be NaN. On a CPU memory is taken when touched."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # torch.zeros writes its zeros; numpy's come from the operating system, page by page.
    num_bytes = math.prod(shape) * dtype.itemsize
    return torch.from_numpy(np.zeros(num_bytes, np.uint8)).view(dtype).view(shape)
