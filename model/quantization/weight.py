"""A quantised weight that stands where a float parameter stood.

Shapes: M rows of x, O and I output and input size, T rows looked up, X experts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.layers import Layer
from model.quantization.format import Format, Packed

# Floats of a weight that exist at once are a tile this wide.
TILE = 256


class QuantizedWeight(Layer):
    """[O, I], or [X, O, I] for experts; `numbers` and `scales` are its buffers."""

    def __init__(self, weight_format: Format, out_size: int, in_size: int, num_experts: int | None = None) -> None:
        super().__init__()
        self.format = weight_format
        leading = () if num_experts is None else (num_experts,)
        one = weight_format.empty(out_size, in_size)
        self.numbers: Tensor
        self.scales: Tensor
        self.register_buffer("numbers", one.numbers.new_empty(*leading, *one.numbers.shape))
        self.register_buffer("scales", one.scales.new_empty(*leading, *one.scales.shape))

    def take(self, weight: Tensor) -> None:
        """Quantise a float weight of this shape, on the CPU."""
        if weight.dim() == 2:
            packed = self.format.quantize(weight)
        else:
            packed = Packed(*map(torch.stack, zip(*map(self.format.quantize, weight), strict=True)))
        self.numbers, self.scales = packed

    @property
    def whole(self) -> Packed:
        """The weight of [O, I]."""
        return Packed(self.numbers, self.scales)

    def of_expert(self, expert: int) -> Packed:
        """One expert's weight."""
        return Packed(self.numbers[expert], self.scales[expert])

    def forward(self, x_MI: Tensor) -> Tensor:
        """x W^T, [M, I] -> [M, O]."""
        return multiply(self.format, x_MI, self.whole)

    def multiplies(self, num_rows: int) -> bool:
        """See Format."""
        return self.format.multiplies(num_rows, self.whole)

    def rows(self, index_T: Tensor) -> Tensor:
        """These rows as float32, [T, I]."""
        return self.format.rows(self.whole, index_T)


def multiply(weight_format: Format, x_MI: Tensor, weight: Packed) -> Tensor:
    """x W^T in x's type, [M, I] -> [M, O]: by the quantised kernel or, where that is slower, by tiles of floats."""
    if weight_format.multiplies(len(x_MI), weight):
        return weight_format.multiply(x_MI, weight)
    out_size = weight.numbers.shape[0]
    floats_MI, out_MO = x_MI.float(), x_MI.new_empty(len(x_MI), out_size)
    for start in range(0, out_size, TILE):
        outputs = slice(start, min(start + TILE, out_size))
        out_MO[:, outputs] = floats_MI @ weight_format.tile(weight, outputs, slice(None))
    return out_MO
