"""Attention of one forward pass against the paged cache: running sequences as a batch, new prompts one by one.

Each class is a KVCache (see model/attention.py). Shapes: T tokens of the pass, B running sequences, n tokens
of one prompt, L tokens that they see (C: with masks), H query heads, K key/value heads, G = H/K, E head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.attention import KVCache
from model.runtime.kv_cache import PagedCache
from model.runtime.page_group import PageGroup
from model.runtime.prompt_media import PromptMedia

if TYPE_CHECKING:
    from model.kernels.decode_attention import DecodeAttentionKernel

Numbers: TypeAlias = NDArray[np.int64]


class DecodeAttention:
    """One new token for each of the given rows, at the given position.

    One SDPA call per layer, or one of the kernel that reads the cache in place, if there is one that takes the layer.
    """

    def __init__(
        self,
        cache: PagedCache,
        rows: list[int],
        positions: list[int],
        device: torch.device,
        kernel: DecodeAttentionKernel | None = None,
    ) -> None:
        self._cache, self._device, self._kernel = cache, device, kernel
        self._rows_B, self._positions_B = np.array(rows), np.array(positions)
        self._views: dict[int | None, BatchView] = {}
        self._context: dict[int, tuple[Tensor, Tensor]] = {}

    def attend(
        self, layer: int, q_THE: Tensor, k_TKE: Tensor | None, v_TKE: Tensor | None, window: int | None
    ) -> Tensor:
        """See KVCache.attend."""
        view, kv_S2KE = self.view(window), self._cache.layers[layer].kv_S2KE
        if self._kernel is not None and self._kernel.takes(q_THE, kv_S2KE):
            if k_TKE is not None and v_TKE is not None:
                self._cache.layers[layer].write(view.new_slots_B, k_TKE, v_TKE)
            return self._kernel(q_THE, kv_S2KE, view.slots_N.view(len(q_THE), -1), view.num_seen_B)
        context = self._context.get(layer)
        if k_TKE is not None and v_TKE is not None:
            context = self._store(layer, k_TKE, v_TKE, view)
        assert context is not None
        k_BKLE, v_BKLE = context
        # Query heads of one key/value head stand where query positions do: nothing is repeated.
        q_BKGE = q_THE.view(len(q_THE), k_BKLE.shape[1], -1, q_THE.shape[2])
        out_BKGE = F.scaled_dot_product_attention(q_BKGE, k_BKLE, v_BKLE, attn_mask=view.mask(q_THE), scale=1.0)
        return out_BKGE.flatten(1, 2)

    def view(self, window: int | None) -> BatchView:
        """Which slots the layers with this window use."""
        if window not in self._views:
            group = self._cache.group(window)
            self._views[window] = BatchView(group, self._rows_B, self._positions_B, self._device)
        return self._views[window]

    def _store(self, layer: int, k_BKE: Tensor, v_BKE: Tensor, view: BatchView) -> tuple[Tensor, Tensor]:
        store = self._cache.layers[layer]
        store.write(view.new_slots_B, k_BKE, v_BKE)
        kv_BL2KE = self._cache.gather(layer, view.slots_N)
        kv_BL2KE = kv_BL2KE.view(len(k_BKE), -1, *kv_BL2KE.shape[1:])
        context = kv_BL2KE[:, :, 0].transpose(1, 2), kv_BL2KE[:, :, 1].transpose(1, 2)
        if layer in self._cache.shared_layers:
            self._context[layer] = context
        return context


class BatchView:
    """Where the new token of each row goes and what it sees. Built once per pass and kind of layer."""

    def __init__(
        self,
        group: PageGroup,
        rows_B: Numbers,
        positions_B: Numbers,
        device: torch.device,
    ) -> None:
        self._device = device
        first_B = np.zeros_like(positions_B)
        if group.window is not None:
            first_B = np.maximum(positions_B - group.window + 1, 0)
        num_seen_B = positions_B - first_B + 1
        seen_BL = first_B[:, None] + np.arange(num_seen_B.max())
        self._hidden_BL = None if num_seen_B.min() == num_seen_B.max() else seen_BL > positions_B[:, None]
        self.new_slots_B = self._tensor(self._slots(group, rows_B[:, None], positions_B[:, None]))
        # What lies behind a row's end is masked; whatever slot its table has there will do.
        self.num_seen_B = torch.from_numpy(num_seen_B)
        self.slots_N = self._tensor(self._slots(group, rows_B[:, None], seen_BL))
        self._mask_B11L: Tensor | None = None

    @staticmethod
    def _slots(group: PageGroup, rows: Numbers, positions: Numbers) -> Numbers:
        size = group.page_size
        pages: Numbers = group.table_RW[rows, positions // size % group.table_RW.shape[1]]
        return (pages * size + positions % size).reshape(-1)

    def _tensor(self, numbers: Numbers) -> Tensor:
        return torch.from_numpy(numbers).to(self._device)

    def mask(self, like: Tensor) -> Tensor | None:
        """0 where a row sees, -inf where it does not; None if every row sees all."""
        if self._mask_B11L is None and self._hidden_BL is not None:
            hidden_BL = torch.from_numpy(self._hidden_BL).to(self._device)
            zeros_BL = like.new_zeros(hidden_BL.shape)
            self._mask_B11L = zeros_BL.masked_fill_(hidden_BL, -torch.inf)[:, None, None]
        return self._mask_B11L


class PrefillAttention:
    """`count` tokens of one sequence, in `row`, after the `start` tokens that the cache already holds."""

    def __init__(
        self,
        cache: PagedCache,
        row: int,
        start: int,
        count: int,
        device: torch.device,
        media: PromptMedia | None = None,
    ) -> None:
        self._cache, self._row, self._start, self._end = cache, row, start, start + count
        self._media, self._device = media, device
        self._context: dict[int, tuple[Tensor, Tensor]] = {}
        self._masks: dict[bool, Tensor | None] = {}
        self._slots: dict[tuple[bool, int], Tensor] = {}

    def attend(
        self, layer: int, q_THE: Tensor, k_TKE: Tensor | None, v_TKE: Tensor | None, window: int | None
    ) -> Tensor:
        """See KVCache.attend."""
        if k_TKE is None or v_TKE is None:
            k_CKE, v_CKE = self._context[layer]
        else:
            k_CKE, v_CKE = self._store(layer, k_TKE, v_TKE, window)
            if layer in self._cache.shared_layers:
                self._context[layer] = k_CKE, v_CKE
        mask_nC = self._mask(window, q_THE.dtype)
        q_1HnE, k_1KCE, v_1KCE = (x.transpose(0, 1)[None] for x in (q_THE, k_CKE, v_CKE))
        out_1HnE = F.scaled_dot_product_attention(
            q_1HnE,
            k_1KCE,
            v_1KCE,
            attn_mask=mask_nC,
            is_causal=mask_nC is None,
            scale=1.0,
            enable_gqa=True,
        )
        return out_1HnE[0].transpose(0, 1)

    def _store(self, layer: int, k_nKE: Tensor, v_nKE: Tensor, window: int | None) -> tuple[Tensor, Tensor]:
        """Puts the new keys and values into their pages; returns them with those before that a new token sees."""
        store, first = self._cache.layers[layer], self._first(window)
        store.write(self._slots_from(self._start, store.group), k_nKE, v_nKE)
        if first == self._start:
            return k_nKE, v_nKE
        kv_C2KE = store.read(self._slots_from(first, store.group))
        return kv_C2KE[:, 0], kv_C2KE[:, 1]

    def _first(self, window: int | None) -> int:
        """The first token that a new token sees."""
        return 0 if window is None else max(0, self._start - window + 1)

    def _slots_from(self, first: int, group: PageGroup) -> Tensor:
        key = (group.window is None, first)
        if key not in self._slots:
            slots = group.slots(self._row, first, self._end)
            self._slots[key] = torch.from_numpy(slots).to(self._device)
        return self._slots[key]

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[n, C], 0 where a token sees; None where plain causality says it all. Built once per kind of layer."""
        is_local = window is not None
        if is_local not in self._masks:
            self._masks[is_local] = self._build_mask(window, dtype)
        return self._masks[is_local]

    def _build_mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        asking_n = torch.arange(self._start, self._end, device=self._device)
        asked_C = torch.arange(self._first(window), self._end, device=self._device)
        same_image_nC = None if window is None or self._media is None else self._media.same_image(asking_n, asked_C)
        if same_image_nC is None and self._start == 0 and (window is None or self._end <= window):
            return None
        hidden_nC = asked_C > asking_n[:, None]
        if same_image_nC is not None:
            hidden_nC &= ~same_image_nC
        if window is not None:
            hidden_nC |= asked_C <= asking_n[:, None] - window
        zeros_nC = torch.zeros(hidden_nC.shape, dtype=dtype, device=self._device)
        return zeros_nC.masked_fill_(hidden_nC, -torch.inf)


class StepAttention:
    """Hands each part of a pass's packed tokens to the attention that serves it."""

    def __init__(self, parts: list[tuple[int, KVCache]]) -> None:
        self._sizes = [size for size, _ in parts]
        self._parts = [part for _, part in parts]

    @property
    def single_row(self) -> DecodeAttention | None:
        """What attends for the only token of the pass, if that is a running sequence's."""
        part = self._parts[0]
        return part if self._sizes == [1] and isinstance(part, DecodeAttention) else None

    def attend(
        self, layer: int, q_THE: Tensor, k_TKE: Tensor | None, v_TKE: Tensor | None, window: int | None
    ) -> Tensor:
        """See KVCache.attend."""
        if len(self._parts) == 1:
            return self._parts[0].attend(layer, q_THE, k_TKE, v_TKE, window)
        pieces = zip(self._parts, self._split(q_THE), self._split(k_TKE), self._split(v_TKE), strict=True)
        return torch.cat([part.attend(layer, q, k, v, window) for part, q, k, v in pieces if q is not None])

    def _split(self, x_T: Tensor | None) -> Sequence[Tensor | None]:
        return [None] * len(self._sizes) if x_T is None else torch.split(x_T, self._sizes)
