"""What a layer does between its matmuls, for vectors of 64 floats."""

from __future__ import annotations

import math
from typing import Any

from numba import types
from numba.extending import intrinsic

from model.kernels.vectors import call, every, floats, fused, ints, splat

# 2^f for f within +-1/2, by the series of e^(f ln 2): off by less than 2e-7.
_POWERS = [math.log(2) ** n / math.factorial(n) for n in range(7)]
_LARGEST_EXPONENT, _EXPONENT_OF_1, _FRACTION_BITS = 126.0, 127, 23
_GELU_LINEAR = 2 * (2 / math.pi) ** 0.5
_GELU_CUBIC = _GELU_LINEAR * 0.044715


@intrinsic
def product(_: Any, left: Any, right: Any) -> Any:
    """left * right, lane by lane."""
    return floats(floats, floats), lambda _, build, __, given: build.fmul(*given)


@intrinsic
def scaled(_: Any, value: Any, factor: Any) -> Any:
    """value * factor."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        return build.fmul(given[0], splat(build, given[1], floats.ir.count))

    return floats(floats, types.float32), generate


@intrinsic
def gelu_gate(_: Any, gate: Any, up: Any) -> Any:
    """gelu_tanh(gate) * up, as `model.layers.gelu_gate` has it."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        gate, up = given
        cubic = fused(build, build.fmul(gate, gate), every(floats.ir, _GELU_CUBIC), every(floats.ir, _GELU_LINEAR))
        opposite = _exponential(build, build.fneg(build.fmul(cubic, gate)))
        return build.fdiv(build.fmul(gate, up), build.fadd(opposite, every(floats.ir, 1.0)))

    return floats(floats, floats), generate


@intrinsic
def larger(_: Any, left: Any, right: Any) -> Any:
    """The larger of both, lane by lane."""
    return floats(floats, floats), lambda _, build, __, given: call(build, "llvm.maxnum.v64f32", floats.ir, given)


@intrinsic
def largest_of(_: Any, value: Any) -> Any:
    """Of all lanes."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        return call(build, "llvm.vector.reduce.fmax.v64f32", floats.ir.element, given)

    return types.float32(floats), generate


@intrinsic
def exponential_above(_: Any, value: Any, origin: Any) -> Any:
    """e^(value - origin); what is smaller than 1e-38 or larger than 8e37 comes out as that."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        return _exponential(build, build.fsub(given[0], splat(build, given[1], floats.ir.count)))

    return floats(floats, types.float32), generate


def _exponential(build: Any, value: Any) -> Any:
    power = build.fmul(value, every(floats.ir, 1 / math.log(2)))
    power = call(build, "llvm.minnum.v64f32", floats.ir, [power, every(floats.ir, _LARGEST_EXPONENT)])
    power = call(build, "llvm.maxnum.v64f32", floats.ir, [power, every(floats.ir, -_LARGEST_EXPONENT)])
    whole = call(build, "llvm.rint.v64f32", floats.ir, [power])
    rest, total = build.fsub(power, whole), every(floats.ir, _POWERS[-1])
    for factor in reversed(_POWERS[:-1]):
        total = fused(build, total, rest, every(floats.ir, factor))
    exponent = build.add(build.fptosi(whole, ints.ir), every(ints.ir, _EXPONENT_OF_1))
    return build.fmul(total, build.bitcast(build.shl(exponent, every(ints.ir, _FRACTION_BITS)), floats.ir))
