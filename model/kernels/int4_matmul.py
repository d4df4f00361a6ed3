"""Int4 weights times activations of 8 bits, on CPUs with AVX-512 VNNI, and faster for many rows on those with AMX.

Torch's kernel turns each weight into a float. Here they are multiplied as they are, by rounded activations.

Shapes: M rows of x, O and I output and input size, S spans of the input, G groups of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.kernels.int4_rounding import SPAN, round_inputs
from model.kernels.int4_rows import multiply_rows
from model.kernels.openmp import Team
from model.kernels.tiles import TILE_ROWS

if TYPE_CHECKING:
    from model.kernels.int4_tiles import Int4Tiles

# Fewer are rounded sooner than another thread has begun.
_SPANS_A_THREAD = 256
_FEWEST_FOR_TILES = 20


class Int4Matmul:
    """x W^T. The weight lies as torch's kernel for AVX-512 wants it, see `quantization.int4`."""

    # What a group must be a multiple of.
    span = SPAN

    def __init__(self, tiles: Int4Tiles | None) -> None:
        """Without `tiles` many rows are multiplied as few are."""
        self._team = Team()
        self._tiles = tiles

    def __call__(self, x_MI: Tensor, numbers: Tensor, scales_GO2: Tensor) -> Tensor:
        """[M, I] -> [M, O] in x's type. Groups are of 64 inputs or a multiple."""
        if x_MI.dtype not in (torch.bfloat16, torch.float32):
            return self(x_MI.float(), numbers, scales_GO2).type_as(x_MI)
        x_MI = x_MI.contiguous()
        (rows, in_size), (num_groups, out_size, _) = x_MI.shape, scales_GO2.shape
        tiles = self._tiles if self._tiles is not None and rows >= _FEWEST_FOR_TILES else None
        # Rows that are added are computed too, and are rubbish.
        few_padded = 1 if rows == 1 else max(rows, 4)
        padded = few_padded if tiles is None else -(-rows // TILE_ROWS) * TILE_ROWS
        out_MO = x_MI.new_empty(padded, out_size)
        # Of x: its numbers, a byte each, then steps and sums of all spans, a float each.
        scratch = torch.empty(padded * (in_size + in_size // SPAN * 8), dtype=torch.uint8)
        steps = scratch.data_ptr() + padded * in_size
        rounded = scratch.data_ptr(), steps, steps + padded * in_size // SPAN * 4
        is_half = x_MI.dtype == torch.bfloat16
        num_spans = rows * in_size // SPAN
        self._team.run(
            round_inputs.address, (x_MI.data_ptr(), is_half, num_spans, *rounded), -(-num_spans // _SPANS_A_THREAD)
        )
        weight = numbers.data_ptr(), scales_GO2.data_ptr(), out_size, in_size, in_size // num_groups
        arguments = *weight, padded, *rounded, out_MO.data_ptr(), is_half
        if tiles is None:
            self._team.run(multiply_rows.address, arguments)
        else:
            tiles.run(self._team, arguments, padded, in_size // num_groups)
        return out_MO[:rows]
