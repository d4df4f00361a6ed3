"""What a quantised weight format must do; the two are int4.py and int8.py.

Shapes: M rows of x, O and I output and input size, T rows of the weight looked up.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Packed(NamedTuple):
    """A quantised [O, I] weight: its numbers as the kernel reads them, and their scales."""

    numbers: Tensor
    scales: Tensor


class Format(Protocol):
    """Quantises float weights, multiplies by quantised ones, and gives them back as float32."""

    def multiplies(self, num_rows: int, weight: Packed) -> bool:
        """Is `multiply` faster for so many rows than turning the weight into floats, and those a tile at a time?"""
        ...

    def fits(self, out_size: int, in_size: int) -> bool:
        """Can the kernel take a weight of this size? Others stay whole."""
        ...

    def empty(self, out_size: int, in_size: int) -> Packed:
        """Uninitialised, on torch's default device."""
        ...

    def quantize(self, weight_OI: Tensor) -> Packed:
        """Any float type; its values must be finite."""
        ...

    def multiply(self, x_MI: Tensor, weight: Packed) -> Tensor:
        """x W^T in x's type by a kernel that reads the weight as it is: [M, I] -> [M, O]."""
        ...

    def tile(self, weight: Packed, outputs: slice, inputs: slice) -> Tensor:
        """A part of the weight, float32, transposed: [inputs, outputs].

        Bounds are multiples of 64 for outputs, of 256 for inputs, or the weight's own.
        """
        ...

    def rows(self, weight: Packed, index_T: Tensor) -> Tensor:
        """These rows of the weight, float32 [T, I]."""
        ...
