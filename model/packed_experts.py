"""Experts with 16-bit weights, each packed by itself as this CPU multiplies them best; see HalfLinear, PackedLinear.

Shapes: R rows sorted by expert, X experts, D hidden, I and O input and output size of a weight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.half_linear import HalfLinear
from model.layers import Layer, gelu_gate
from model.packed_linear import PackedLinear


class PackedExperts(Layer):
    """X gated MLPs of layers of one kind, applied to rows sorted by expert: see moe.Experts, its twin."""

    def __init__(self, kind: type[HalfLinear] | type[PackedLinear], gate_up_XOI: Tensor, down_XOI: Tensor) -> None:
        super().__init__()
        self._kind = kind
        self._experts = [
            (kind(gate_up_OI), kind(down_OI)) for gate_up_OI, down_OI in zip(gate_up_XOI, down_XOI, strict=True)
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
        self._experts[index] = (self._kind(gate_up_OI), self._kind(down_OI))
