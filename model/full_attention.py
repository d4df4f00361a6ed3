"""The plain KVCache that caches nothing: whole sequences, packed together, with an explicit mask.

The reference that fast caches are tested against. Shapes: T tokens (asking), S tokens (asked), H query heads,
K key/value heads, G = H/K query heads per key/value head, E head dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor


class FullAttention:
    """Serves one forward pass over sequences of the given lengths, laid one after another.

    `blocks_T` (see soft_rows.image_blocks) makes the tokens of one image see each other in layers with a window.
    """

    def __init__(self, lengths: list[int], blocks_T: Tensor | None = None) -> None:
        self._sequence_T = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        self._blocks_T = blocks_T
        self._kv: dict[int, tuple[Tensor, Tensor]] = {}

    def attend(
        self, layer: int, q_THE: Tensor, k_TKE: Tensor | None, v_TKE: Tensor | None, window: int | None
    ) -> Tensor:
        """See KVCache.attend."""
        if k_TKE is not None and v_TKE is not None:
            self._kv[layer] = (k_TKE, v_TKE)
        k_SKE, v_SKE = self._kv[layer]
        q_TKGE = q_THE.reshape(len(q_THE), k_SKE.shape[1], -1, q_THE.shape[2])
        scores_KGTS = torch.einsum("tkge,ske->kgts", q_TKGE, k_SKE).float()
        hidden_TS = ~self._visible(window).to(q_THE.device)
        weights_KGTS = scores_KGTS.masked_fill(hidden_TS, -torch.inf).softmax(-1).type_as(q_THE)
        return torch.einsum("kgts,ske->tkge", weights_KGTS, v_SKE).flatten(1, 2)

    def _visible(self, window: int | None) -> Tensor:
        """[T, S]: may token t see token s? Same sequence, inside the window, and not later unless of one image."""
        index_T = torch.arange(len(self._sequence_T))
        distance_TS = index_T[:, None] - index_T[None, :]
        visible_TS = distance_TS >= 0
        if window is not None:
            visible_TS = (visible_TS | self._same_image()) & (distance_TS < window)
        return visible_TS & (self._sequence_T[:, None] == self._sequence_T[None, :])

    def _same_image(self) -> Tensor:
        """[T, S], or a single False."""
        if self._blocks_T is None:
            return torch.tensor(False)
        return (self._blocks_T[:, None] == self._blocks_T[None, :]) & (self._blocks_T >= 0)
