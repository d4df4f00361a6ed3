"""Experts with 16-bit weights and 32-bit arithmetic; see HalfLinear.

Shapes: R rows sorted by expert, X experts, D hidden, I and O input and output size of a weight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.half_linear import HalfLinear
from model.layers import Layer, gelu_gate


class HalfExperts(Layer):
    """X gated MLPs, each packed by itself, applied to rows sorted by expert: see moe.Experts, its twin."""

    def __init__(self, gate_up_XOI: Tensor, down_XOI: Tensor) -> None:
        super().__init__()
        self._experts = [
            (HalfLinear(gate_up_OI), HalfLinear(down_OI))
            for gate_up_OI, down_OI in zip(gate_up_XOI, down_XOI, strict=True)
        ]

    def forward(self, rows_RD: Tensor, ends_X: Tensor) -> Tensor:
        """[R, D] -> [R, D], rows of expert x being ends_X[x-1] .. ends_X[x]."""
        out, start = [], 0
        for end, (gate_up, down) in zip(ends_X.tolist(), self._experts, strict=True):
            if end > start:
                out.append(down(gelu_gate(gate_up(rows_RD[start:end]))))
            start = end
        return torch.cat(out) if out else rows_RD

    def replace(self, index: int, gate_up_OI: Tensor, down_OI: Tensor) -> None:
        """Puts another expert, of the same 16-bit type, in the place of one."""
        self._experts[index] = (HalfLinear(gate_up_OI), HalfLinear(down_OI))
