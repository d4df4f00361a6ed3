"""Rotary position embedding: angles once per forward pass and layer kind, for queries and keys together.

Shapes: T tokens, N heads, E head dimension, P = E/2 angle pairs (element i turns with element i + P).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from model.config import Rope


class Angles(NamedTuple):
    """cos and sin of every token, [T, 1, E]. The first half of the sines is negated, as `rotate` needs it."""

    cos_T1E: Tensor
    sin_T1E: Tensor


class RotaryEmbedding:
    """Positions to angles for one head size.

    Not an nn.Module: its frequencies stay float32 when the model is cast, and real on a "meta" model.
    """

    def __init__(self, rope: Rope, head_dim: int) -> None:
        self._frequencies_P = inverse_frequencies(rope, head_dim)

    def __call__(self, positions_T: Tensor, dtype: torch.dtype) -> Angles:
        """Angles of int64 positions, computed in float32 and returned as `dtype`."""
        if self._frequencies_P.device != positions_T.device:
            self._frequencies_P = self._frequencies_P.to(positions_T.device)
        angles_TP = positions_T.float()[:, None] * self._frequencies_P
        cos_TP, sin_TP = angles_TP.cos(), angles_TP.sin()
        cos_TE, sin_TE = torch.cat((cos_TP, cos_TP), -1), torch.cat((-sin_TP, sin_TP), -1)
        return Angles(cos_TE.to(dtype)[:, None], sin_TE.to(dtype)[:, None])


def inverse_frequencies(rope: Rope, head_dim: int) -> Tensor:
    """Radians per position of each pair, [P] float32 on the CPU; pairs past the rotated fraction get 0.

    "Proportional" RoPE: exponents run over the full head, so the pairs that do turn, turn as in full RoPE.
    """
    num_pairs = head_dim // 2
    num_rotated = int(rope.rotated_fraction * head_dim // 2)
    with torch.inference_mode(False):
        exponents = torch.arange(0, 2 * num_rotated, 2, dtype=torch.float32, device="cpu") / head_dim
        frequencies_P = torch.zeros(num_pairs, device="cpu")
        frequencies_P[:num_rotated] = 1.0 / rope.theta**exponents / rope.factor
    return frequencies_P


def rotate(x_TNE: Tensor, angles: Angles) -> Tensor:
    """Turn every head of x by its token's angles, [T, N, E] -> [T, N, E]."""
    swapped_TNE = x_TNE.roll(x_TNE.shape[-1] // 2, dims=-1)
    return (x_TNE * angles.cos_T1E).addcmul_(swapped_TNE, angles.sin_T1E)
