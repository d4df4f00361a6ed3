"""Two-dimensional RoPE: the first half of a head turns by the patch's column, the second by its row.

Shapes: B images, P patches, H heads, E head dimension, A = E/2 the part of one axis.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import Rope
from model.rope import Angles, RotaryEmbedding, rotate


class AxialRotaryEmbedding:
    """Angles of patch positions, and their use. Not a module, as RotaryEmbedding is none."""

    def __init__(self, theta: float, head_dim: int) -> None:
        self._axis = RotaryEmbedding(Rope(theta), head_dim // 2)

    def __call__(self, positions_P2: Tensor, dtype: torch.dtype) -> Angles:
        """cos and sin, [P, 1, 2, A] each."""
        across, down = (self._axis(positions_P, dtype) for positions_P in positions_P2.unbind(-1))
        return Angles(*(torch.stack(pair, -2) for pair in zip(across, down, strict=True)))


def rotate_axes(x_BPHE: Tensor, angles: Angles) -> Tensor:
    """Turn both halves of every head, [B, P, H, E] -> [B, P, H, E]."""
    return rotate(x_BPHE.reshape(*x_BPHE.shape[:-1], 2, -1), angles).flatten(-2)
