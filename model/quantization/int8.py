"""Int8 weights, one scale for each output: value = number * scale.

Shapes: M rows of x, O and I output and input size, T rows looked up.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.quantization.format import Packed

_LARGEST = 127
_ROWS_AT_ONCE = 4096
# Bytes that torch's kernel for AVX-512 loads at once, and faults on where they lie otherwise.
ALIGNMENT = 16
_FEW_ROWS = 16


class Int8Format:
    """Numbers [O, I] int8 as they are, scales [O] bfloat16: what `torch._weight_int8pack_mm` reads on any CPU."""

    def fits(self, out_size: int, in_size: int) -> bool:
        """See Format."""
        return out_size % 64 == 0 and in_size % 32 == 0

    def empty(self, out_size: int, in_size: int) -> Packed:
        """See Format."""
        return Packed(torch.empty(out_size, in_size, dtype=torch.int8), torch.empty(out_size, dtype=torch.bfloat16))

    def quantize(self, weight_OI: Tensor) -> Packed:
        """See Format. The largest of a row becomes 127."""
        packed = self.empty(*weight_OI.shape)
        for start in range(0, len(weight_OI), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            values_OI = weight_OI[some].float()
            # Numbers are found with the scale as it is stored, so that its rounding adds no error.
            packed.scales[some] = (values_OI.abs().amax(1) / _LARGEST).clamp_min_(1e-12)
            scaled_OI = values_OI / packed.scales[some, None].float()
            packed.numbers[some] = scaled_OI.round_().clamp_(-_LARGEST, _LARGEST)
        return packed

    def multiplies(self, num_rows: int, weight: Packed) -> bool:
        """See Format."""
        return num_rows <= _FEW_ROWS

    def multiply(self, x_MI: Tensor, weight: Packed) -> Tensor:
        """See Format."""
        return torch._weight_int8pack_mm(x_MI.bfloat16(), weight.numbers, weight.scales).type_as(x_MI)

    def tile(self, weight: Packed, outputs: slice, inputs: slice) -> Tensor:
        """See Format."""
        return (weight.numbers[outputs, inputs].float() * weight.scales[outputs, None]).t()

    def rows(self, weight: Packed, index_T: Tensor) -> Tensor:
        """See Format."""
        return weight.numbers[index_T].float() * weight.scales[index_T, None]
