"""Averages squares of patches into soft tokens.

Shapes: B images, P patches, N soft tokens, D hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import VisionConfig
from model.layers import Layer


class Pooler(Layer):
    """Mean over k x k patches, times sqrt(D), standardized where the config says so."""

    std_bias: Tensor
    std_scale: Tensor

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self._kernel = config.pooling_kernel_size
        self._scale: float = config.hidden_size**0.5
        self._is_standardized = config.has_standardized_output
        if self._is_standardized:
            self.register_buffer("std_bias", torch.zeros(config.hidden_size))
            self.register_buffer("std_scale", torch.ones(config.hidden_size))

    def forward(self, x_BPD: Tensor, columns: int) -> Tensor:
        """[B, P, D] in rows of `columns` -> [B, N, D]. ValueError unless both sides are multiples of k."""
        k, dtype = self._kernel, x_BPD.dtype
        images, num_patches, hidden = x_BPD.shape
        rows = num_patches // columns
        if rows % k or columns % k:
            raise ValueError(f"{columns}x{rows} patches do not divide into {k}x{k} squares")
        grid_BRkCkD = x_BPD.reshape(images, rows // k, k, columns // k, k, hidden)
        mean_BND = grid_BRkCkD.float().mean((2, 4)).flatten(1, 2)
        # In float32 from here on: times sqrt(D) it may leave float16's range.
        soft_BND = mean_BND.to(dtype).float() * self._scale
        if self._is_standardized:
            soft_BND = (soft_BND - self.std_bias.float()) * self.std_scale.float()
        return soft_BND.to(dtype)
