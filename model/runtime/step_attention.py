"""Attention of one forward pass against the slot cache: running sequences as a batch, new prompts one by one.

Each class is a KVCache (see model/attention.py). Shapes: T tokens of the pass, B running sequences, n tokens
of one prompt, C context tokens they see, L entries of a row, H query heads, K key/value heads, G = H/K, E head
dimension.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import KVCache
from model.runtime.kv_cache import SlotCache
from model.runtime.prompt_media import PromptMedia


class DecodeAttention:
    """One new token for each of the rows 0..B-1, at the given position. One SDPA call per layer."""

    def __init__(self, cache: SlotCache, positions: list[int], positions_B: Tensor) -> None:
        self._cache = cache
        self._context: dict[int, tuple[Tensor, Tensor]] = {}
        self._global = _RowView(positions, positions_B, cache.entries)
        self._local = _RowView(positions, positions_B, cache.ring)

    def attend(
        self, layer: int, q_THE: Tensor, k_TKE: Tensor | None, v_TKE: Tensor | None, window: int | None
    ) -> Tensor:
        """See KVCache.attend."""
        view = self._global if window is None else self._local
        if k_TKE is not None and v_TKE is not None:
            self._context[layer] = self._store(layer, k_TKE, v_TKE, view)
        k_BKLE, v_BKLE = self._context[layer]
        # Query heads of one key/value head stand where query positions do: nothing is repeated.
        q_BKGE = q_THE.view(len(q_THE), k_BKLE.shape[1], -1, q_THE.shape[2])
        out_BKGE = F.scaled_dot_product_attention(q_BKGE, k_BKLE, v_BKLE, attn_mask=view.mask(q_THE), scale=1.0)
        return out_BKGE.flatten(1, 2)

    def _store(self, layer: int, k_BKE: Tensor, v_BKE: Tensor, view: "_RowView") -> tuple[Tensor, Tensor]:
        store = self._cache.layers[layer]
        store.keys.flatten(0, 1).index_copy_(0, view.index_B, k_BKE)
        store.values.flatten(0, 1).index_copy_(0, view.index_B, v_BKE)
        rows, entries = len(k_BKE), view.num_entries
        k_BLKE, v_BLKE = store.keys[:rows, :entries], store.values[:rows, :entries]
        return k_BLKE.transpose(1, 2), v_BLKE.transpose(1, 2)


class _RowView:
    """Where the new token of each row goes, and what it may see. Built once per pass and kind of layer."""

    def __init__(self, positions: list[int], positions_B: Tensor, row_size: int) -> None:
        self._positions_B = positions_B
        self.num_entries = min(max(positions) + 1, row_size)
        self._sees_all = min(positions) + 1 >= self.num_entries
        rows_B = torch.arange(len(positions), device=positions_B.device)
        self.index_B = rows_B * row_size + positions_B % row_size
        self._mask_B11L: Tensor | None = None

    def mask(self, like: Tensor) -> Tensor | None:
        """0 where a row sees, -inf where it does not; None if every row sees every entry."""
        if self._mask_B11L is None and not self._sees_all:
            entries_L = torch.arange(self.num_entries, device=like.device)
            hidden_BL = entries_L > self._positions_B[:, None]
            zeros_BL = like.new_zeros(hidden_BL.shape)
            self._mask_B11L = zeros_BL.masked_fill_(hidden_BL, -torch.inf)[:, None, None]
        return self._mask_B11L


class PrefillAttention:
    """`count` tokens of one sequence, in `row`, after the `start` tokens that the cache already holds."""

    def __init__(
        self,
        cache: SlotCache,
        row: int,
        start: int,
        count: int,
        device: torch.device,
        media: PromptMedia | None = None,
    ) -> None:
        self._media = media
        self._cache, self._row, self._start, self._count = cache, row, start, count
        self._context: dict[int, tuple[Tensor, Tensor]] = {}
        self._masks: dict[bool, Tensor | None] = {}
        self._device = device

    def attend(
        self, layer: int, q_THE: Tensor, k_TKE: Tensor | None, v_TKE: Tensor | None, window: int | None
    ) -> Tensor:
        """See KVCache.attend."""
        if k_TKE is None or v_TKE is None:
            k_CKE, v_CKE = self._context[layer]
        else:
            store = self._store_global if window is None else self._store_local
            k_CKE, v_CKE = store(layer, k_TKE, v_TKE)
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

    def _store_global(self, layer: int, k_nKE: Tensor, v_nKE: Tensor) -> tuple[Tensor, Tensor]:
        store, end = self._cache.layers[layer], self._start + self._count
        store.keys[self._row, self._start : end] = k_nKE
        store.values[self._row, self._start : end] = v_nKE
        return store.keys[self._row, :end], store.values[self._row, :end]

    def _store_local(self, layer: int, k_nKE: Tensor, v_nKE: Tensor) -> tuple[Tensor, Tensor]:
        store, ring = self._cache.layers[layer], self._cache.ring
        keys_LKE, values_LKE = store.keys[self._row], store.values[self._row]
        # Read before write: the new tokens overwrite the oldest that the first of them still see.
        past = torch.arange(self._start - self._num_past, self._start, device=self._device) % ring
        context = torch.cat([keys_LKE[past], k_nKE]), torch.cat([values_LKE[past], v_nKE])
        kept = min(self._count, ring)
        end = self._start + self._count
        entries = torch.arange(end - kept, end, device=self._device) % ring
        keys_LKE.index_copy_(0, entries, k_nKE[-kept:])
        values_LKE.index_copy_(0, entries, v_nKE[-kept:])
        return context

    @property
    def _num_past(self) -> int:
        """Cached tokens that the first new token sees through the window."""
        return min(self._start, self._cache.window - 1)

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[n, C], 0 where a token sees; None where plain causality says it all. Built once per kind of layer."""
        is_local = window is not None
        if is_local not in self._masks:
            self._masks[is_local] = self._build_mask(window, dtype)
        return self._masks[is_local]

    def _build_mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        first = 0 if window is None else self._start - self._num_past
        end = self._start + self._count
        asking_n = torch.arange(self._start, end, device=self._device)
        asked_C = torch.arange(first, end, device=self._device)
        same_image_nC = None if window is None or self._media is None else self._media.same_image(asking_n, asked_C)
        if same_image_nC is None and self._start == 0 and (window is None or self._count <= window):
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
