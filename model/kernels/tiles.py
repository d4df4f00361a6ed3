"""What AMX does with tiles, as LLVM's instructions. A tile has 16 rows of 64 bytes; there are eight.

Source: Intel's Architecture Instruction Set Extensions Programming Reference, chapter 3 (AMX).
"""

from __future__ import annotations

import struct
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from model.kernels.vectors import LANES

TILE_ROWS = 16
_TILE_BYTES, _PALETTE = 64, 1
# All eight tiles are whole.
CONFIG = struct.pack("<BB14x8H16x8B8x", _PALETTE, 0, *[_TILE_BYTES] * 8, *[TILE_ROWS] * 8)
_BYTE, _LONG = ir.IntType(8), ir.IntType(64)
_ADDRESS = _BYTE.as_pointer()
_FIRST_WEIGHTS, _INPUTS, _NUM_BLOCKS = 4, 7, LANES // 16


@intrinsic
def configure_tiles(_: Any, config: Any) -> Any:
    """What every thread does first; the address is of CONFIG."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        _call(build, "ldtilecfg", [build.inttoptr(given[0], _ADDRESS)])
        return _nothing()

    return types.void(types.int64), generate


@intrinsic
def release_tiles(_: Any) -> Any:
    """What every thread does last: else each switch to another has to save them."""

    def generate(_: Any, build: Any, __: Any, ___: Any) -> Any:
        _call(build, "tilerelease", [])
        return _nothing()

    return types.void(), generate


@intrinsic
def store_dots(_: Any, inputs: Any, row_bytes: Any, quads: Any, dots: Any) -> Any:
    """Of 16 rows of 64 int8, and 64 outputs by 64 inputs, 0 .. 255: stores the products, int32 [16, 64].

    Inputs are `row_bytes` apart. The weights lie by quads: of each four inputs in turn those of all outputs (TDPBSUD).
    """

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        inputs, row_bytes, quads, dots = given
        between = _LONG(4 * LANES)
        _move(build, "tileloadd64", _INPUTS, inputs, row_bytes)
        for block in range(_NUM_BLOCKS):
            place = _LONG(block * _TILE_BYTES)
            weights = _FIRST_WEIGHTS + block % (_INPUTS - _FIRST_WEIGHTS)
            _move(build, "tileloadd64", weights, build.add(quads, place), between)
            _call(build, "tilezero", [_BYTE(block)])
            _call(build, "tdpbsud", [_BYTE(block), _BYTE(_INPUTS), _BYTE(weights)])
            _move(build, "tilestored64", block, build.add(dots, place), between)
        return _nothing()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


def _move(build: Any, name: str, tile: int, address: Any, row_bytes: Any) -> None:
    _call(build, name, [_BYTE(tile), build.inttoptr(address, _ADDRESS), row_bytes])


def _call(build: Any, name: str, given: list[Any]) -> None:
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in given])
    build.call(build.module.declare_intrinsic(f"llvm.x86.{name}", (), kind), given)


def _nothing() -> Any:
    return ir.Constant(_ADDRESS, None)
