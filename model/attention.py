"""Attention of one layer up to where tokens meet: projections, norms, RoPE. The KVCache does the rest.

Shapes: T tokens of all sequences packed together, D hidden, H query heads, K key/value heads, E head size,
N all heads of the fused projection.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from model.config import LayerSpec, TextConfig
from model.layers import Layer, Linear, rms_norm
from model.rope import Angles, rotate


class KVCache(Protocol):
    """Holds keys and values, knows which token belongs to which sequence, and attends."""

    def attend(
        self, layer: int, q_THE: Tensor, k_TKE: Tensor | None, v_TKE: Tensor | None, window: int | None
    ) -> Tensor:
        """Store this pass's keys and values (normed, with RoPE) for `layer`, then attend causally, scale 1.

        `layer` owns the keys and values; a layer that shares them passes its source and None, after the
        source has stored this pass's. Only the last `window` tokens, the asking one included, are seen (None:
        all). Returns [T, H, E].
        """
        ...


class Attention(Layer):
    """Queries, keys and values from one fused projection; output projection after the cache has attended."""

    def __init__(self, config: TextConfig, spec: LayerSpec) -> None:
        super().__init__()
        self._spec = spec
        self._eps = config.rms_norm_eps
        self._num_heads = config.num_heads
        self._num_kv_heads = 0 if spec.kv_source is not None else spec.num_kv_heads
        num_projected = self._num_heads + self._num_kv_heads * (1 if spec.k_is_v else 2)
        has_bias = config.has_attention_bias
        self.qkv = Linear(config.hidden_size, num_projected * spec.head_dim, has_bias=has_bias)
        self.out = Linear(self._num_heads * spec.head_dim, config.hidden_size, has_bias=has_bias)
        self.qk_norm = nn.Parameter(torch.ones(self._num_heads + self._num_kv_heads, spec.head_dim))

    def forward(self, x_TD: Tensor, angles: Angles, cache: KVCache) -> Tensor:
        """[T, D] -> [T, D]."""
        q_THE, k_TKE, v_TKE = self._project(x_TD, angles)
        attended_THE = cache.attend(self._spec.kv_layer, q_THE, k_TKE, v_TKE, self._spec.window)
        out_TD: Tensor = self.out(attended_THE.flatten(1))
        return out_TD

    def _project(self, x_TD: Tensor, angles: Angles) -> tuple[Tensor, Tensor | None, Tensor | None]:
        num_qk = self._num_heads + self._num_kv_heads
        raw_TNE = self.qkv(x_TD).unflatten(-1, (-1, self._spec.head_dim))
        # One norm serves q, k and v: they differ only in the weight, and v has none.
        normed_TNE = rms_norm(raw_TNE, None, self._eps)
        qk_TNE = rotate(normed_TNE[:, :num_qk] * self.qk_norm, angles)
        if self._num_kv_heads == 0:
            return qk_TNE, None, None
        # Where K is V the value is the key before its weight and RoPE.
        v_TKE = normed_TNE[:, -self._num_kv_heads :]
        return qk_TNE[:, : self._num_heads], qk_TNE[:, self._num_heads :], v_TKE
