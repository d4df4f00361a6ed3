"""Experts with quantised weights. Shapes: X experts, D hidden, F expert width, R rows sorted by expert."""

from __future__ import annotations

import torch
from torch import Tensor

from model.layers import Layer, gelu_gate
from model.moe import Experts
from model.quantization.format import Format
from model.quantization.weight import QuantizedWeight, multiply


class QuantizedExperts(Layer):
    """What `model.moe.Experts` does, one multiplication for each expert that has rows."""

    def __init__(self, experts: Experts, weight_format: Format) -> None:
        super().__init__()
        self._format = weight_format
        num_experts, double_width, hidden_size = experts.gate_up.shape
        self.gate_up = QuantizedWeight(weight_format, double_width, hidden_size, num_experts)
        self.down = QuantizedWeight(weight_format, hidden_size, double_width // 2, num_experts)

    def forward(self, rows_RD: Tensor, ends_X: Tensor) -> Tensor:
        """[R, D] -> [R, D], rows of expert x being ends_X[x-1] .. ends_X[x]."""
        sizes_X = torch.diff(ends_X, prepend=ends_X.new_zeros(1)).tolist()
        parts = torch.split(rows_RD, sizes_X)
        answers = [self._answer(expert, part_RD) for expert, part_RD in enumerate(parts) if len(part_RD)]
        return torch.cat(answers) if answers else rows_RD

    def _answer(self, expert: int, some_RD: Tensor) -> Tensor:
        hidden_RF = gelu_gate(multiply(self._format, some_RD, self.gate_up.of_expert(expert)))
        return multiply(self._format, hidden_RF, self.down.of_expert(expert))
