"""Int4 weights times activations of 8 bits, on CPUs with AVX-512 VNNI.

Torch's kernel turns each weight into a float. Here four of them at a time are multiplied as they are, by activations
rounded to 8 bits, each span of 64 with a scale of its own (as llama.cpp does by spans of 32). That adds an error of
0.6 % to one of 8 to 10 % that comes with 4 bits.

Shapes: M rows of x, O and I output and input size, S spans of the input, G groups of it.
"""

from __future__ import annotations

import torch
from numba import carray, float32, njit
from torch import Tensor

from model.kernels.compiled_code import compiled
from model.kernels.openmp import Team
from model.kernels.sharing import ARGUMENTS, share
from model.kernels.vectors import (
    LANES,
    add_dots,
    add_scaled_ints,
    add_scaled_rows,
    largest,
    load_bfloats,
    load_float,
    load_floats,
    load_int4_quads,
    no_floats,
    no_ints,
    store_bfloats,
    store_float,
    store_floats,
    store_rounded,
)

SPAN = LANES
# A weight is stored by blocks of 64 rows, in each of them by inputs.
INPUT_BYTES = LANES // 2
# Fewer are rounded sooner than another thread has begun.
_SPANS_A_THREAD = 256
_LARGEST, _MIDDLE = float32(127), float32(8)


@njit(inline="always")
def round_span(inputs, span, rounded, steps, sums):
    """Stores a span of x as numbers, their step and their sum."""
    step = largest(inputs) / _LARGEST
    total = store_rounded(inputs, float32(1) / step if step > 0 else float32(0), rounded + span * SPAN)
    store_float(step, steps + 4 * span)
    store_float(step * total, sums + 4 * span)


@compiled(ARGUMENTS)
def _round(arguments):
    """Some spans of x: their numbers, steps and sums."""
    x, is_half, num_spans, rounded, steps, sums = carray(arguments, 6)
    first, last = share(num_spans)
    for span in range(first, last):
        inputs = load_bfloats(x + 2 * SPAN * span) if is_half else load_floats(x + 4 * SPAN * span)
        round_span(inputs, span, rounded, steps, sums)


@njit(inline="always")
def _store(total, out, place, is_half):
    if is_half:
        store_bfloats(total, out + 2 * place)
    else:
        store_floats(total, out + 4 * place)


@njit(inline="always")
def block_of_row(weight, scale, out_size, in_size, group_size, x, steps, sums):
    """64 outputs of one row of x: those whose weights and scales lie at these addresses."""
    total = no_floats()
    for group in range(in_size // group_size):
        part, inputs = no_floats(), float32(0)
        for span in range(group * group_size // SPAN, (group + 1) * group_size // SPAN):
            dots = no_ints()
            for i in range(span * SPAN, (span + 1) * SPAN, 4):
                dots = add_dots(dots, load_int4_quads(weight + i * INPUT_BYTES), x + i)
            part = add_scaled_ints(part, dots, load_float(steps + 4 * span))
            inputs += load_float(sums + 4 * span)
        total = add_scaled_rows(total, part, inputs, _MIDDLE, scale + group * out_size * 4)
    return total


@njit(inline="always")
def _four_rows(weight, scale, out_size, in_size, group_size, x, steps, sums, out, place, is_half):
    """A weight is read and unpacked once for all of them."""
    row = in_size // SPAN * 4
    total_0, total_1, total_2, total_3 = no_floats(), no_floats(), no_floats(), no_floats()
    for group in range(in_size // group_size):
        part_0, part_1, part_2, part_3 = no_floats(), no_floats(), no_floats(), no_floats()
        inputs_0, inputs_1, inputs_2, inputs_3 = float32(0), float32(0), float32(0), float32(0)
        for span in range(group * group_size // SPAN, (group + 1) * group_size // SPAN):
            dots_0, dots_1, dots_2, dots_3 = no_ints(), no_ints(), no_ints(), no_ints()
            for i in range(span * SPAN, (span + 1) * SPAN, 4):
                quads = load_int4_quads(weight + i * INPUT_BYTES)
                dots_0 = add_dots(dots_0, quads, x + i)
                dots_1 = add_dots(dots_1, quads, x + in_size + i)
                dots_2 = add_dots(dots_2, quads, x + 2 * in_size + i)
                dots_3 = add_dots(dots_3, quads, x + 3 * in_size + i)
            step, inputs = steps + 4 * span, sums + 4 * span
            part_0 = add_scaled_ints(part_0, dots_0, load_float(step))
            part_1 = add_scaled_ints(part_1, dots_1, load_float(step + row))
            part_2 = add_scaled_ints(part_2, dots_2, load_float(step + 2 * row))
            part_3 = add_scaled_ints(part_3, dots_3, load_float(step + 3 * row))
            inputs_0 += load_float(inputs)
            inputs_1 += load_float(inputs + row)
            inputs_2 += load_float(inputs + 2 * row)
            inputs_3 += load_float(inputs + 3 * row)
        scale_of_group = scale + group * out_size * 4
        total_0 = add_scaled_rows(total_0, part_0, inputs_0, _MIDDLE, scale_of_group)
        total_1 = add_scaled_rows(total_1, part_1, inputs_1, _MIDDLE, scale_of_group)
        total_2 = add_scaled_rows(total_2, part_2, inputs_2, _MIDDLE, scale_of_group)
        total_3 = add_scaled_rows(total_3, part_3, inputs_3, _MIDDLE, scale_of_group)
    _store(total_0, out, place, is_half)
    _store(total_1, out, place + out_size, is_half)
    _store(total_2, out, place + 2 * out_size, is_half)
    _store(total_3, out, place + 3 * out_size, is_half)


@compiled(ARGUMENTS)
def _multiply(arguments):
    """Some blocks of outputs: for one row of x, or for four at a time, the last ones maybe twice."""
    numbers, scales, out_size, in_size, group_size, rows, x, steps, sums, out, is_half = carray(arguments, 11)
    first, last = share(out_size // LANES)
    for block in range(first, last):
        weight, scale = numbers + block * in_size * INPUT_BYTES, scales + block * LANES * 4
        if rows == 1:
            total = block_of_row(weight, scale, out_size, in_size, group_size, x, steps, sums)
            _store(total, out, block * LANES, is_half)
        for row in range(0, rows if rows > 1 else 0, 4):
            start = min(row, rows - 4)
            spans = start * in_size // SPAN * 4
            _four_rows(
                weight, scale, out_size, in_size, group_size, x + start * in_size, steps + spans, sums + spans,
                out, start * out_size + block * LANES, is_half,
            )  # fmt: skip


class Int4Matmul:
    """x W^T. The weight lies as torch's kernel for AVX-512 wants it, see `quantization.int4`."""

    # What a group must be a multiple of.
    span = SPAN

    def __init__(self) -> None:
        self._team = Team()

    def __call__(self, x_MI: Tensor, numbers: Tensor, scales_GO2: Tensor) -> Tensor:
        """[M, I] -> [M, O] in x's type. Groups are of 64 inputs or a multiple."""
        if x_MI.dtype not in (torch.bfloat16, torch.float32):
            return self(x_MI.float(), numbers, scales_GO2).type_as(x_MI)
        x_MI = x_MI.contiguous()
        (rows, in_size), (num_groups, out_size, _) = x_MI.shape, scales_GO2.shape
        # Two and three rows are computed like four, of which the others are rubbish.
        padded = rows if rows == 1 else max(rows, 4)
        out_MO = x_MI.new_empty(padded, out_size)
        # Of x: its numbers, a byte each, then steps and sums of all spans, a float each.
        scratch = torch.empty(padded * (in_size + in_size // SPAN * 8), dtype=torch.uint8)
        steps = scratch.data_ptr() + padded * in_size
        rounded = scratch.data_ptr(), steps, steps + padded * in_size // SPAN * 4
        is_half = x_MI.dtype == torch.bfloat16
        num_spans = rows * in_size // SPAN
        self._team.run(
            _round.address, (x_MI.data_ptr(), is_half, num_spans, *rounded), -(-num_spans // _SPANS_A_THREAD)
        )
        weight = numbers.data_ptr(), scales_GO2.data_ptr(), out_size, in_size, in_size // num_groups
        self._team.run(_multiply.address, (*weight, padded, *rounded, out_MO.data_ptr(), is_half))
        return out_MO[:rows]
