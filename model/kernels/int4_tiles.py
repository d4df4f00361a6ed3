"""The same as `int4_matmul` for many rows at once, on CPUs with AMX: sixteen rows in one instruction.

A group of weights is unpacked once for all rows. What is rounded, multiplied and added is the same, in the same order,
so it makes no difference to a row whether there are others.
"""

from __future__ import annotations

import ctypes

import torch
from numba import carray, float32, njit

from model.kernels.compiled_code import compiled
from model.kernels.int4_rounding import SPAN
from model.kernels.int4_rows import INPUT_BYTES, MIDDLE, store_outputs
from model.kernels.openmp import Team
from model.kernels.sharing import ARGUMENTS, share, thread_index
from model.kernels.tiles import CONFIG, TILE_ROWS, configure_tiles, release_tiles, store_dots
from model.kernels.vectors import (
    LANES,
    add_scaled_ints,
    add_scaled_rows,
    load_float,
    load_floats,
    load_int4_quads,
    load_ints,
    no_floats,
    prefetch,
    store_floats,
    store_quads,
)

# Of 64 floats or ints.
_ROW_BYTES = LANES * 4


@njit(inline="always")
def _unpack(weight, group_size, quads):
    for i in range(0, group_size, 4):
        # The next group comes while this one is multiplied.
        prefetch(weight + (group_size + i) * INPUT_BYTES)
        store_quads(load_int4_quads(weight + i * INPUT_BYTES), quads + i * LANES)


@njit(inline="always")
def _add_group(dots, spans, scale, steps, sums, row_of_spans, totals):
    """To the totals of 16 rows what a group of inputs makes of them."""
    for row in range(TILE_ROWS):
        part, inputs, place = no_floats(), float32(0), row * row_of_spans
        for span in range(spans):
            numbers = load_ints(dots + (span * TILE_ROWS + row) * _ROW_BYTES)
            part = add_scaled_ints(part, numbers, load_float(steps + place + 4 * span))
            inputs += load_float(sums + place + 4 * span)
        total = load_floats(totals + row * _ROW_BYTES)
        store_floats(add_scaled_rows(total, part, inputs, MIDDLE, scale), totals + row * _ROW_BYTES)


@compiled(ARGUMENTS)
def _multiply(arguments):
    (
        numbers, scales, out_size, in_size, group_size, rows, x, steps, sums, out, is_half,
        config, scratch, scratch_size,
    ) = carray(arguments, 14)  # fmt: skip
    quads = scratch + thread_index() * scratch_size
    dots = quads + group_size * LANES
    totals = dots + group_size * LANES
    spans, row_of_spans = group_size // SPAN, in_size // SPAN * 4
    configure_tiles(config)
    first, last = share(out_size // LANES)
    for block in range(first, last):
        for row in range(rows):
            store_floats(no_floats(), totals + row * _ROW_BYTES)
        for group in range(in_size // group_size):
            start = group * group_size
            _unpack(numbers + (block * in_size + start) * INPUT_BYTES, group_size, quads)
            scale = scales + (group * out_size + block * LANES) * 4
            for row in range(0, rows, TILE_ROWS):
                for span in range(spans):
                    inputs = x + row * in_size + start + span * SPAN
                    store_dots(inputs, in_size, quads + span * SPAN * LANES, dots + span * TILE_ROWS * _ROW_BYTES)
                place = row * row_of_spans + group * spans * 4
                _add_group(dots, spans, scale, steps + place, sums + place, row_of_spans, totals + row * _ROW_BYTES)
        for row in range(rows):
            store_outputs(load_floats(totals + row * _ROW_BYTES), out, row * out_size + block * LANES, is_half)
    release_tiles()


class Int4Tiles:
    """Only where `has_tiles` says so: elsewhere the compiler gives up."""

    def __init__(self) -> None:
        self._config = ctypes.create_string_buffer(CONFIG, len(CONFIG))

    def run(self, team: Team, arguments: tuple[int, ...], rows: int, group_size: int) -> None:
        """Arguments are those of `multiply_rows`; rows are a multiple of 16."""
        # A thread has a group's weights, its dots, and totals.
        size = 2 * group_size * LANES + rows * _ROW_BYTES
        scratch = torch.empty(torch.get_num_threads() * size, dtype=torch.uint8)
        team.run(_multiply.address, (*arguments, ctypes.addressof(self._config), scratch.data_ptr(), size))
