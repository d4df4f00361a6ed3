"""How compiled code gets to know a decoder: as records of addresses and sizes, all int64 but for eps and scalar.

Weights are int4 as `int4_matmul` reads them, everything else is float32. An address of 0 means that there is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# So many query heads of a key/value head are answered at a time.
HEADS = 4
_LANES = 64


def padded(num_scores: int) -> int:
    """Room for so many scores, in vectors."""
    return -(-num_scores // _LANES) * _LANES


def _record(*fields: Any) -> np.dtype[Any]:
    return np.dtype([(field, np.int64) if isinstance(field, str) else field for field in fields])


WEIGHT = _record("numbers", "scales", "out_size", "in_size", "group_size")
# `kind` is an index; `kv` a layer's part of the cache, [S, 2, K, E]; a layer that only reads it `is_reader`.
_ATTENTION = ("attention_norm", ("qkv", WEIGHT), "qk_norm", ("out", WEIGHT), "post_attention_norm")
_CACHE = ("kind", "kv", "num_kv_heads", "head_dim", "is_reader", "k_is_v")
_FEED_FORWARD = ("pre_norm", ("gate_up", WEIGHT), ("down", WEIGHT), "post_norm")
_PER_LAYER = (("gate", WEIGHT), ("projection", WEIGHT), "per_layer_norm", ("scalar", np.float64))
LAYER = _record(*_ATTENTION, *_CACHE, *_FEED_FORWARD, *_PER_LAYER)
# Of the layers of one kind: the token's angles, its slot, and the slots that it sees (and, there, how many).
KIND = _record("cos", "sin", "new_slot", "slots", "length", "most")
_SIZES = ("num_layers", "hidden_size", "num_heads", "per_layer_size", ("eps", np.float64))
# Memory that the threads share, and `own`, of which each has a part of `own_size` bytes.
_MEMORY = ("qkv", "q", "scores", "attended", "added", "hidden", "gated", "own", "own_size")
STEP = _record("layers", "kinds", "x", "per_layer", *_SIZES, *_MEMORY)
