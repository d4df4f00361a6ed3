"""Attention of one new token of each sequence against the paged KV cache, read where it lies.

Torch's attention wants the keys and values of a batch side by side, and copies them there for every token. Four query
heads of a key/value head are answered at a time, so that a key is read once for them.

Shapes: S slots of the cache, B sequences, L slots that one sees at most, H query heads, K key/value heads, E head
dimension.
"""

from __future__ import annotations

import torch
from numba import carray, float32, njit
from torch import Tensor

from model.kernels.compiled_code import compiled
from model.kernels.float_math import exponential_above, larger, largest_of, scaled
from model.kernels.layer_records import HEADS, padded
from model.kernels.openmp import Team
from model.kernels.sharing import ARGUMENTS, share, thread_index
from model.kernels.vectors import (
    LANES,
    add_products,
    add_scaled,
    load_float,
    load_floats,
    load_slot,
    no_floats,
    store_float,
    store_floats,
    sum_of,
)

_PART = LANES * 4
# The score of nothing: e^it is 0 beside any other.
_NONE = float32(-3e38)
_padded = njit(inline="always")(padded)


@njit(inline="always")
def _score(q, key, slot_bytes, seen, length, scores, row, head_dim):
    """The products of four queries with each key."""
    size = head_dim * 4
    for i in range(length):
        address = key + load_slot(seen + 8 * i) * slot_bytes
        dots_0, dots_1, dots_2, dots_3 = no_floats(), no_floats(), no_floats(), no_floats()
        for place in range(0, size, LANES * 4):
            part = load_floats(address + place)
            dots_0 = add_products(dots_0, part, load_floats(q + place))
            dots_1 = add_products(dots_1, part, load_floats(q + size + place))
            dots_2 = add_products(dots_2, part, load_floats(q + 2 * size + place))
            dots_3 = add_products(dots_3, part, load_floats(q + 3 * size + place))
        store_float(sum_of(dots_0), scores + 4 * i)
        store_float(sum_of(dots_1), scores + row + 4 * i)
        store_float(sum_of(dots_2), scores + 2 * row + 4 * i)
        store_float(sum_of(dots_3), scores + 3 * row + 4 * i)


@njit(inline="always")
def _softmax(scores, length):
    """In place. Behind the last score there is room to fill up a vector."""
    end = scores + _padded(length) * 4
    for place in range(scores + 4 * length, end, 4):
        store_float(_NONE, place)
    highest, total = load_floats(scores), no_floats()
    for place in range(scores, end, _PART):
        highest = larger(highest, load_floats(place))
    origin = largest_of(highest)
    for place in range(scores, end, _PART):
        weights = exponential_above(load_floats(place), origin)
        total = add_scaled(total, weights, float32(1))
        store_floats(weights, place)
    factor = float32(1) / sum_of(total)
    for place in range(scores, end, _PART):
        store_floats(scaled(load_floats(place), factor), place)


@njit(inline="always")
def _mix(value, slot_bytes, seen, length, scores, row, out, size):
    """A part of the values, as much as a vector holds, weighed by the scores of four heads."""
    mixed_0, mixed_1, mixed_2, mixed_3 = no_floats(), no_floats(), no_floats(), no_floats()
    for i in range(length):
        part = load_floats(value + load_slot(seen + 8 * i) * slot_bytes)
        mixed_0 = add_scaled(mixed_0, part, load_float(scores + 4 * i))
        mixed_1 = add_scaled(mixed_1, part, load_float(scores + row + 4 * i))
        mixed_2 = add_scaled(mixed_2, part, load_float(scores + 2 * row + 4 * i))
        mixed_3 = add_scaled(mixed_3, part, load_float(scores + 3 * row + 4 * i))
    store_floats(mixed_0, out)
    store_floats(mixed_1, out + size)
    store_floats(mixed_2, out + 2 * size)
    store_floats(mixed_3, out + 3 * size)


@njit
def attend(q, kv, slots, lengths, scores, out, batch, most, num_heads, num_kv_heads, head_dim):
    """This thread's fours of heads, each against the slots that its sequence sees."""
    row = _padded(most) * 4
    scores += thread_index() * HEADS * row
    fours = num_heads // HEADS
    first, last = share(batch * fours)
    for task in range(first, last):
        sequence, four = task // fours, task % fours
        length, seen = load_slot(lengths + 8 * sequence), slots + 8 * sequence * most
        heads = (sequence * num_heads + four * HEADS) * head_dim * 4
        # Of a slot: all keys, then all values.
        key = kv + four * HEADS * num_kv_heads // num_heads * head_dim * 4
        slot_bytes, value = 2 * num_kv_heads * head_dim * 4, key + num_kv_heads * head_dim * 4
        _score(q + heads, key, slot_bytes, seen, length, scores, row, head_dim)
        for head in range(HEADS):
            _softmax(scores + head * row, length)
        for place in range(0, head_dim * 4, LANES * 4):
            _mix(value + place, slot_bytes, seen, length, scores, row, out + heads + place, head_dim * 4)


@compiled(ARGUMENTS)
def _attend(arguments):
    q, kv, slots, lengths, scores, out, batch, most, num_heads, num_kv_heads, head_dim = carray(arguments, 11)
    attend(q, kv, slots, lengths, scores, out, batch, most, num_heads, num_kv_heads, head_dim)


class DecodeAttentionKernel:
    """softmax(q k^T) v, scale 1."""

    def __init__(self) -> None:
        self._team = Team()

    @staticmethod
    def takes(q_BHE: Tensor, kv_S2KE: Tensor) -> bool:
        """Float32, heads of a multiple of 64, four or more to a key/value head."""
        is_float = q_BHE.dtype == kv_S2KE.dtype == torch.float32
        return is_float and q_BHE.shape[2] % LANES == 0 and q_BHE.shape[1] // kv_S2KE.shape[2] % HEADS == 0

    def __call__(self, q_BHE: Tensor, kv_S2KE: Tensor, slots_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """[B, H, E] -> [B, H, E]. Row b sees the first lengths_B[b] of its slots; both are int64."""
        q_BHE, most = q_BHE.contiguous(), slots_BL.shape[1]
        out_BHE = torch.empty_like(q_BHE)
        scores = torch.empty(torch.get_num_threads() * HEADS * padded(most))
        tensors = (q_BHE, kv_S2KE, slots_BL, lengths_B, scores, out_BHE)
        batch, num_heads, head_dim = q_BHE.shape
        sizes = (batch, most, num_heads, kv_S2KE.shape[2], head_dim)
        self._team.run(_attend.address, (*(tensor.data_ptr() for tensor in tensors), *sizes))
        return out_BHE
