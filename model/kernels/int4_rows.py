"""Int4 weights times rounded activations with AVX-512 VNNI: for one row of these, or four at a time.

Four weights at a time are multiplied as they are stored.
"""

from __future__ import annotations

from numba import carray, float32, njit

from model.kernels.compiled_code import compiled
from model.kernels.int4_rounding import SPAN
from model.kernels.sharing import ARGUMENTS, share
from model.kernels.vectors import (
    LANES,
    add_dots,
    add_scaled_ints,
    add_scaled_rows,
    load_float,
    load_int4_quads,
    no_floats,
    no_ints,
    prefetch,
    store_bfloats,
    store_floats,
)

# A weight is stored by blocks of 64 rows, in each of them by inputs.
INPUT_BYTES = LANES // 2
MIDDLE = float32(8)
# The processor by itself fetches less far ahead, and not over the end of a page.
_FETCHED_AHEAD = 4096


@njit(inline="always")
def store_outputs(total, out, place, is_half):
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
                prefetch(weight + i * INPUT_BYTES + _FETCHED_AHEAD)
                dots = add_dots(dots, load_int4_quads(weight + i * INPUT_BYTES), x + i)
            part = add_scaled_ints(part, dots, load_float(steps + 4 * span))
            inputs += load_float(sums + 4 * span)
        total = add_scaled_rows(total, part, inputs, MIDDLE, scale + group * out_size * 4)
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
                prefetch(weight + i * INPUT_BYTES + _FETCHED_AHEAD)
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
        total_0 = add_scaled_rows(total_0, part_0, inputs_0, MIDDLE, scale_of_group)
        total_1 = add_scaled_rows(total_1, part_1, inputs_1, MIDDLE, scale_of_group)
        total_2 = add_scaled_rows(total_2, part_2, inputs_2, MIDDLE, scale_of_group)
        total_3 = add_scaled_rows(total_3, part_3, inputs_3, MIDDLE, scale_of_group)
    store_outputs(total_0, out, place, is_half)
    store_outputs(total_1, out, place + out_size, is_half)
    store_outputs(total_2, out, place + 2 * out_size, is_half)
    store_outputs(total_3, out, place + 3 * out_size, is_half)


@compiled(ARGUMENTS)
def multiply_rows(arguments):
    """Some blocks of outputs: for one row of x, or for four at a time, the last ones maybe twice."""
    numbers, scales, out_size, in_size, group_size, rows, x, steps, sums, out, is_half = carray(arguments, 11)
    first, last = share(out_size // LANES)
    for block in range(first, last):
        weight, scale = numbers + block * in_size * INPUT_BYTES, scales + block * LANES * 4
        if rows == 1:
            total = block_of_row(weight, scale, out_size, in_size, group_size, x, steps, sums)
            store_outputs(total, out, block * LANES, is_half)
        for row in range(0, rows if rows > 1 else 0, 4):
            start = min(row, rows - 4)
            spans = start * in_size // SPAN * 4
            _four_rows(
                weight, scale, out_size, in_size, group_size, x + start * in_size, steps + spans, sums + spans,
                out, start * out_size + block * LANES, is_half,
            )  # fmt: skip
