"""Vectors as Numba types, and what AVX-512 does with them, written as LLVM's instructions.

A vector has a lane for each of 64 rows of a weight, or for each of 64 inputs: LLVM cuts it into registers. Addresses
are integers, of memory that need not be aligned.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

LANES = 64

# For the one instruction that is written as assembler.
llvmlite.binding.initialize_native_asmparser()


class Vector(types.Type):
    """A vector of `size` elements."""

    def __init__(self, name: str, element: ir.Type, size: int) -> None:
        super().__init__(name)
        self.ir = ir.VectorType(element, size)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """A vector is what LLVM calls one."""

    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.ir)


_BYTE, _SHORT, _INT, _FLOAT = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()
_SHORTS, _REGISTER = ir.VectorType(_SHORT, LANES), ir.VectorType(_INT, 16)
# Four bytes for each lane.
quads = Vector("quads", _BYTE, 4 * LANES)
ints = Vector("ints", _INT, LANES)
floats = Vector("floats", _FLOAT, LANES)
# A product may go into the sum that follows without being rounded.
_FUSED = ("contract",)
_DOT = ir.InlineAsm(ir.FunctionType(_REGISTER, [_REGISTER] * 3), "vpdpbusd $2, $1, $0", "=v,v,v,0")


@intrinsic
def no_ints(_: Any) -> Any:
    """Ints of 0."""
    return ints(), lambda *_: ir.Constant(ints.ir, [0] * LANES)


@intrinsic
def no_floats(_: Any) -> Any:
    """Floats of 0."""
    return floats(), lambda *_: ir.Constant(floats.ir, [0.0] * LANES)


@intrinsic
def load_float(_: Any, address: Any) -> Any:
    """One float32, not a vector."""
    return types.float32(types.int64), lambda _, build, __, given: _load(build, given[0], _FLOAT)


@intrinsic
def load_slot(_: Any, address: Any) -> Any:
    """One int64."""
    return types.int64(types.int64), lambda _, build, __, given: _load(build, given[0], ir.IntType(64))


@intrinsic
def store_float(_: Any, value: Any, address: Any) -> Any:
    """One float32, not a vector."""
    return types.void(types.float32, types.int64), lambda _, build, __, given: _store(build, *given)


@intrinsic
def load_floats(_: Any, address: Any) -> Any:
    """Of 64 float32."""
    return floats(types.int64), lambda _, build, __, given: _load(build, given[0], floats.ir)


@intrinsic
def load_bfloats(_: Any, address: Any) -> Any:
    """Of 64 bfloat16, which are the upper halves of floats."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        return _upper(build, build.zext(_load(build, given[0], _SHORTS), ints.ir))

    return floats(types.int64), generate


@intrinsic
def store_floats(_: Any, value: Any, address: Any) -> Any:
    """As 64 float32."""
    return types.void(floats, types.int64), lambda _, build, __, given: _store(build, *given)


@intrinsic
def store_bfloats(_: Any, value: Any, address: Any) -> Any:
    """As 64 bfloat16, rounded to the nearest, and to the even one of two."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        bits = build.bitcast(given[0], ints.ir)
        is_odd = build.and_(build.lshr(bits, every(ints.ir, 16)), every(ints.ir, 1))
        rounded = build.add(build.add(bits, every(ints.ir, 0x7FFF)), is_odd)
        return _store(build, build.trunc(build.lshr(rounded, every(ints.ir, 16)), _SHORTS), given[1])

    return types.void(floats, types.int64), generate


@intrinsic
def largest(_: Any, value: Any) -> Any:
    """The largest absolute value."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        positive = call(build, "llvm.fabs.v64f32", floats.ir, given)
        return call(build, "llvm.vector.reduce.fmax.v64f32", _FLOAT, [positive])

    return types.float32(floats), generate


@intrinsic
def add_products(_: Any, total: Any, left: Any, right: Any) -> Any:
    """total + left * right, lane by lane."""
    return floats(floats, floats, floats), lambda _, build, __, given: fused(build, given[1], given[2], given[0])


@intrinsic
def add_scaled(_: Any, total: Any, value: Any, scale: Any) -> Any:
    """total + value * scale."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        total, value, scale = given
        return fused(build, value, splat(build, scale, LANES), total)

    return floats(floats, floats, types.float32), generate


@intrinsic
def sum_of(_: Any, value: Any) -> Any:
    """Of all lanes, in an order of its own."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        kind = ir.FunctionType(_FLOAT, [_FLOAT, floats.ir])
        add = build.module.declare_intrinsic("llvm.vector.reduce.fadd.v64f32", (), kind)
        return build.call(add, [ir.Constant(_FLOAT, 0.0), given[0]], fastmath=("reassoc",))

    return types.float32(floats), generate


@intrinsic
def store_rounded(_: Any, value: Any, factor: Any, address: Any) -> Any:
    """Stores value * factor, within -128 .. 127, as 64 int8; returns the sum of these."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        value, factor, address = given
        rounded = call(build, "llvm.rint.v64f32", floats.ir, [build.fmul(value, splat(build, factor, LANES))])
        numbers = build.fptosi(rounded, ints.ir)
        _store(build, build.trunc(numbers, ir.VectorType(_BYTE, LANES)), address)
        return call(build, "llvm.vector.reduce.add.v64i32", _INT, [numbers])

    return types.int32(floats, types.float32, types.int64), generate


@intrinsic
def load_int4_quads(_: Any, address: Any) -> Any:
    """Four inputs of 64 rows out of 128 bytes: an input has 32 bytes, each with row r below and row r + 32 above."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        stored = _load(build, given[0], ir.VectorType(_BYTE, 2 * LANES))
        by_row = _pick(build, stored, [32 * place + row for row in range(32) for place in range(4)])
        low, high = build.and_(by_row, every(by_row.type, 15)), build.lshr(by_row, every(by_row.type, 4))
        return _join(build, low, high)

    return quads(types.int64), generate


@intrinsic
def load_ints(_: Any, address: Any) -> Any:
    """Of 64 int32."""
    return ints(types.int64), lambda _, build, __, given: _load(build, given[0], ints.ir)


@intrinsic
def store_quads(_: Any, value: Any, address: Any) -> Any:
    """As 64 times four bytes."""
    return types.void(quads, types.int64), lambda _, build, __, given: _store(build, *given)


@intrinsic
def prefetch(_: Any, address: Any) -> Any:
    """Has two cache lines fetched that will be read soon; the address may be any."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _INT, _INT, _INT])
        fetch = build.module.declare_intrinsic("llvm.prefetch.p0", (), kind)
        for offset in (0, 64):
            place = build.inttoptr(build.add(given[0], ir.Constant(given[0].type, offset)), _BYTE.as_pointer())
            build.call(fetch, [place, _INT(0), _INT(3), _INT(1)])
        return ir.Constant(ir.IntType(8).as_pointer(), None)

    return types.void(types.int64), generate


@intrinsic
def add_dots(_: Any, total: Any, weights: Any, address: Any) -> Any:
    """total + the product of each lane's four bytes, 0 .. 255, with the four int8 at the address (VPDPBUSD)."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        total, weights, address = given
        factor = splat(build, _load(build, address, _INT), 16)
        sums = []
        for first in range(0, LANES, 16):
            bytes_ = build.bitcast(_pick(build, weights, range(4 * first, 4 * first + 64)), _REGISTER)
            sums.append(build.call(_DOT, [bytes_, factor, _pick(build, total, range(first, first + 16))]))
        return _join(build, _join(build, *sums[:2]), _join(build, *sums[2:]))

    return ints(ints, quads, types.int64), generate


@intrinsic
def add_scaled_ints(_: Any, total: Any, numbers: Any, scale: Any) -> Any:
    """total + numbers * scale."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        total, numbers, scale = given
        return fused(build, build.sitofp(numbers, floats.ir), splat(build, scale, LANES), total)

    return floats(floats, ints, types.float32), generate


@intrinsic
def add_scaled_rows(_: Any, total: Any, value: Any, sum_of_inputs: Any, middle: Any, address: Any) -> Any:
    """total + scale * (value - middle * sum_of_inputs) + zero * sum_of_inputs.

    The address has scale and zero of each row side by side, as bfloat16.
    """

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        total, value, sum_of_inputs, middle, address = given
        both = _load(build, address, ints.ir)
        scale = build.bitcast(build.shl(both, every(ints.ir, 16)), floats.ir)
        centred = build.fsub(value, splat(build, build.fmul(sum_of_inputs, middle), LANES))
        with_zero = fused(build, _upper_half(build, both), splat(build, sum_of_inputs, LANES), total)
        return fused(build, scale, centred, with_zero)

    return floats(floats, floats, types.float32, types.float32, types.int64), generate


def _upper_half(build: Any, both: Any) -> Any:
    return build.bitcast(build.and_(both, every(ints.ir, -0x10000)), floats.ir)


def _upper(build: Any, numbers: Any) -> Any:
    return build.bitcast(build.shl(numbers, every(ints.ir, 16)), floats.ir)


def fused(build: Any, left: Any, right: Any, total: Any) -> Any:
    return build.fadd(total, build.fmul(left, right, flags=_FUSED), flags=_FUSED)


def _load(build: Any, address: Any, kind: ir.Type) -> Any:
    return build.load(build.inttoptr(address, kind.as_pointer()), align=1)


def _store(build: Any, value: Any, address: Any) -> Any:
    build.store(value, build.inttoptr(address, value.type.as_pointer()), align=1)
    return ir.Constant(ir.IntType(8).as_pointer(), None)


def call(build: Any, name: str, result: ir.Type, given: Any) -> Any:
    kind = ir.FunctionType(result, [value.type for value in given])
    return build.call(build.module.declare_intrinsic(name, (), kind), given)


def every(kind: ir.VectorType, value: float) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def splat(build: Any, value: Any, size: int) -> Any:
    first = build.insert_element(ir.Constant(ir.VectorType(value.type, size), ir.Undefined), value, _INT(0))
    return _pick(build, first, [0] * size)


def _pick(build: Any, value: Any, places: Any) -> Any:
    return build.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), _places(places))


def _join(build: Any, first: Any, second: Any) -> Any:
    return build.shuffle_vector(first, second, _places(range(2 * first.type.count)))


def _places(places: Any) -> Any:
    return ir.Constant(ir.VectorType(_INT, len(places)), list(places))
