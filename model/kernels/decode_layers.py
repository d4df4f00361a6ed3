"""All layers of a decoder for one new token, in one call: between small matmuls Python would take as long as they do.

Every thread runs all of it. Matmuls and heads are shared out, and the threads meet where one needs what another has
computed; what is as quick to compute as to wait for (norms, the rounding of x) each does for itself.

Shapes: D hidden, H query heads, E head dimension, P per-layer size.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import carray, float32, from_dtype, njit, types
from numba.extending import intrinsic

from model.kernels.compiled_code import compiled
from model.kernels.decode_attention import attend
from model.kernels.float_math import gelu_gate, product, scaled
from model.kernels.int4_rounding import SPAN, round_span
from model.kernels.int4_rows import INPUT_BYTES, block_of_row
from model.kernels.layer_records import KIND, LAYER, STEP
from model.kernels.openmp import Team
from model.kernels.sharing import meet, share, thread_index
from model.kernels.vectors import (
    LANES,
    add_products,
    load_floats,
    no_floats,
    store_floats,
    sum_of,
)

_PART = LANES * 4
_BYTES = ir.IntType(8).as_pointer()


@intrinsic
def _pointer(_: Any, address: Any) -> Any:
    return types.voidptr(types.int64), lambda _, build, __, given: build.inttoptr(given[0], _BYTES)


@njit
def _factor(x, size, eps):
    """1 / the root mean square of that many floats."""
    squares = no_floats()
    for place in range(0, size * 4, _PART):
        squares = add_products(squares, load_floats(x + place), load_floats(x + place))
    return float32(1 / math.sqrt(sum_of(squares) / size + eps))


@njit
def _round_into(value, span, rounded, size):
    """Of `size` rounded inputs: numbers, then steps, then sums."""
    round_span(value, span, rounded, rounded + size, rounded + size + size // SPAN * 4)


@njit
def _round(x, size, rounded):
    for span in range(size // SPAN):
        _round_into(load_floats(x + span * _PART), span, rounded, size)


@njit
def _norm_and_round(x, weight, size, eps, rounded):
    factor = _factor(x, size, eps)
    for span in range(size // SPAN):
        normed = product(scaled(load_floats(x + span * _PART), factor), load_floats(weight + span * _PART))
        _round_into(normed, span, rounded, size)


@njit
def _add_norm(x, added, weight, size, eps):
    factor = _factor(added, size, eps)
    for place in range(0, size * 4, _PART):
        normed = scaled(load_floats(added + place), factor)
        store_floats(add_products(load_floats(x + place), normed, load_floats(weight + place)), x + place)


@njit
def _block(weight, block, x):
    size = weight.in_size
    numbers, scales = weight.numbers + block * size * INPUT_BYTES, weight.scales + block * LANES * 4
    steps, sums = x + size, x + size + size // SPAN * 4
    return block_of_row(numbers, scales, weight.out_size, size, weight.group_size, x, steps, sums)


@njit
def _project(weight, x, out):
    first, last = share(weight.out_size // LANES)
    for block in range(first, last):
        store_floats(_block(weight, block, x), out + block * _PART)


@njit
def _gate_up(weight, x, hidden):
    """Rounded. Gate and up are halves of one weight."""
    blocks = weight.out_size // 2 // LANES
    first, last = share(blocks)
    for block in range(first, last):
        gated = gelu_gate(_block(weight, block, x), _block(weight, blocks + block, x))
        _round_into(gated, block, hidden, weight.out_size // 2)


@njit
def _gate(weight, x, per_layer, gated):
    first, last = share(weight.out_size // LANES)
    for block in range(first, last):
        value = gelu_gate(_block(weight, block, x), load_floats(per_layer + block * _PART))
        _round_into(value, block, gated, weight.out_size)


@njit
def _norm_and_rotate(x, weight, kind, size, eps, out):
    """A head. The first half of the sines is negated."""
    factor, half = _factor(x, size, eps), size // 2 * 4
    for low in range(0, half, _PART):
        high = low + half
        left = product(scaled(load_floats(x + low), factor), load_floats(weight + low))
        right = product(scaled(load_floats(x + high), factor), load_floats(weight + high))
        turned = product(left, load_floats(kind.cos + low))
        store_floats(add_products(turned, right, load_floats(kind.sin + low)), out + low)
        turned = product(right, load_floats(kind.cos + high))
        store_floats(add_products(turned, left, load_floats(kind.sin + high)), out + high)


@njit
def _norm(x, size, eps, out):
    factor = _factor(x, size, eps)
    for place in range(0, size * 4, _PART):
        store_floats(scaled(load_floats(x + place), factor), out + place)


@njit
def _split_heads(layer, kind, num_heads, eps, qkv, q):
    """Queries to q; a key and its value into the cache."""
    dim, size, num_kv = layer.head_dim, layer.head_dim * 4, layer.num_kv_heads
    keys = layer.kv + kind.new_slot * 2 * num_kv * size
    first, last = share(num_heads if layer.is_reader else num_heads + num_kv)
    for head in range(first, last):
        raw, kv_head = qkv + head * size, head - num_heads
        out = q + head * size if kv_head < 0 else keys + kv_head * size
        _norm_and_rotate(raw, layer.qk_norm + head * size, kind, dim, eps, out)
        if kv_head >= 0:
            _norm(raw if layer.k_is_v else raw + num_kv * size, dim, eps, keys + (num_kv + kv_head) * size)


@njit
def _attention(layer, kind, step, x, rounded):
    _norm_and_round(x, layer.attention_norm, step.hidden_size, step.eps, rounded)
    _project(layer.qkv, rounded, step.qkv)
    meet()
    _split_heads(layer, kind, step.num_heads, step.eps, step.qkv, step.q)
    meet()
    attend(
        step.q, layer.kv, kind.slots, kind.length, step.scores, step.attended,
        1, kind.most, step.num_heads, layer.num_kv_heads, layer.head_dim,
    )  # fmt: skip
    meet()
    _round(step.attended, layer.out.in_size, rounded)
    _project(layer.out, rounded, step.added)
    meet()
    _add_norm(x, step.added, layer.post_attention_norm, step.hidden_size, step.eps)


@njit
def _feed_forward(layer, step, x, rounded):
    _norm_and_round(x, layer.pre_norm, step.hidden_size, step.eps, rounded)
    _gate_up(layer.gate_up, rounded, step.hidden)
    meet()
    _project(layer.down, step.hidden, step.added)
    meet()
    _add_norm(x, step.added, layer.post_norm, step.hidden_size, step.eps)


@njit
def _take_per_layer(layer, step, per_layer, x, rounded):
    _round(x, step.hidden_size, rounded)
    _gate(layer.gate, rounded, per_layer, step.gated)
    meet()
    _project(layer.projection, step.gated, step.added)
    meet()
    _add_norm(x, step.added, layer.per_layer_norm, step.hidden_size, step.eps)


@njit
def _scale(x, factor, size, out):
    for place in range(0, size * 4, _PART):
        store_floats(scaled(load_floats(x + place), factor), out + place)


@compiled(types.void(types.CPointer(from_dtype(STEP))))
def _run(arguments):
    step = carray(arguments, 1)[0]
    layers = carray(_pointer(step.layers), step.num_layers, LAYER)
    kinds = carray(_pointer(step.kinds), 2, KIND)
    x = step.own + thread_index() * step.own_size
    rounded = x + step.hidden_size * 4
    _scale(step.x, float32(1), step.hidden_size, x)
    for index in range(step.num_layers):
        layer = layers[index]
        _attention(layer, kinds[layer.kind], step, x, rounded)
        _feed_forward(layer, step, x, rounded)
        if step.per_layer_size:
            _take_per_layer(layer, step, step.per_layer + index * step.per_layer_size * 4, x, rounded)
        _scale(x, float32(layer.scalar), step.hidden_size, x)
    if thread_index() == 0:
        _scale(x, float32(1), step.hidden_size, step.x)


class DecodeLayersKernel:
    """Runs a STEP."""

    def __init__(self) -> None:
        self._team = Team()

    def __call__(self, step: Any) -> None:
        """`step.x` is read, and gets the result; new keys and values are in the cache then."""
        self._team.call(_run.address, step.ctypes.data)
