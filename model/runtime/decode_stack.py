"""All blocks of an int4 decoder at once, for a pass of one new token: see `model.kernels.decode_layers`.

Shapes: D hidden, P per-layer size, L layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from model.block import Block
from model.config import AttentionShape, LayerKind, LayerSpec
from model.kernels.layer_records import HEADS, KIND, LAYER, STEP, padded
from model.kernels.vectors import LANES
from model.quantization.int4 import Int4Format
from model.quantization.linear import QuantizedLinear
from model.rope import Angles
from model.runtime.kv_cache import PagedCache
from model.runtime.step_attention import DecodeAttention
from model.transformer import Transformer

if TYPE_CHECKING:
    from model.kernels.decode_layers import DecodeLayersKernel

_KINDS = list(LayerKind)


class DecodeStack:
    """What the blocks of `model` do, one after the other, with keys and values in `cache`."""

    def __init__(self, model: Transformer, cache: PagedCache, kernel: DecodeLayersKernel) -> None:
        self._config, self._kernel = model.config, kernel
        self._layers = np.zeros(model.config.num_layers, LAYER)
        for record, block, spec in zip(self._layers, model.blocks, model.config.layers, strict=True):
            assert isinstance(block, Block)
            _describe(record, block, spec, cache)
        self._kinds, self._step = np.zeros(len(_KINDS), KIND), np.zeros(1, STEP)
        self._step["layers"], self._step["kinds"] = self._layers.ctypes.data, self._kinds.ctypes.data
        for name in ("num_layers", "hidden_size", "num_heads", "per_layer_size"):
            self._step[name] = getattr(model.config, name)
        self._step["eps"] = model.config.rms_norm_eps
        self._memory = {name: torch.empty(size, dtype=torch.uint8) for name, size in self._shared_sizes().items()}

    @staticmethod
    def can_hold(model: Transformer) -> bool:
        """Is the kernel made for blocks like these?"""
        config = model.config
        shapes = [config.attention(kind) for kind in set(config.layer_kinds)]
        has_heads = all(_takes_heads(config.num_heads, shape) for shape in shapes)
        linears = [linear for block in model.blocks for linear in _linears(block)]
        return model.dtype == torch.float32 and has_heads and config.moe is None and all(map(_is_fast, linears))

    def __call__(
        self,
        attention: DecodeAttention,
        x_1D: Tensor,
        angles: Mapping[LayerKind, Angles],
        per_layer: Sequence[Tensor | None],
    ) -> Tensor:
        """[1, D] -> [1, D]. `attention` is of one row."""
        out_1D = x_1D.clone()
        per_layer_LP = torch.cat([part for part in per_layer if part is not None] or [out_1D])
        self._memory |= {"x": out_1D, "per_layer": per_layer_LP, **self._memory_of_threads(attention)}
        for name, memory in self._memory.items():
            self._step[name] = memory.data_ptr()
        self._place(angles, attention)
        self._kernel(self._step)
        return out_1D

    def _place(self, angles: Mapping[LayerKind, Angles], attention: DecodeAttention) -> None:
        for kind, (cos_11E, sin_11E) in angles.items():
            view = attention.view(self._window(kind))
            addresses = cos_11E.data_ptr(), sin_11E.data_ptr(), int(view.new_slots_B)
            seen = view.slots_N.data_ptr(), view.num_seen_B.data_ptr(), len(view.slots_N)
            self._kinds[_KINDS.index(kind)] = (*addresses, *seen)

    def _window(self, kind: LayerKind) -> int | None:
        return self._config.sliding_window if kind is LayerKind.LOCAL else None

    def _shared_sizes(self) -> dict[str, int]:
        """Bytes. See STEP."""
        layers = self._layers
        floats = {"qkv": layers["qkv"]["out_size"], "q": layers["out"]["in_size"], "attended": layers["out"]["in_size"]}
        sizes = {name: 4 * int(size.max()) for name, size in floats.items()}
        sizes["added"] = 4 * self._config.hidden_size
        sizes["hidden"] = _rounded_size(layers["down"]["in_size"].max())
        return sizes | {"gated": _rounded_size(self._config.per_layer_size)}

    def _memory_of_threads(self, attention: DecodeAttention) -> dict[str, Tensor]:
        num_threads = torch.get_num_threads()
        most = max(len(attention.view(self._window(kind)).slots_N) for kind in set(self._config.layer_kinds))
        longest = max(self._config.hidden_size, self._layers["out"]["in_size"].max())
        own_size = 4 * self._config.hidden_size + _rounded_size(longest)
        self._step["own_size"] = own_size
        sizes = {"scores": 4 * HEADS * padded(most), "own": own_size}
        return {name: torch.empty(num_threads * size, dtype=torch.uint8) for name, size in sizes.items()}


def _takes_heads(num_heads: int, shape: AttentionShape) -> bool:
    return shape.head_dim % (2 * LANES) == 0 and num_heads // shape.num_kv_heads % HEADS == 0


def _is_fast(linear: object) -> bool:
    if not isinstance(linear, QuantizedLinear) or linear.bias is not None:
        return False
    return isinstance(linear.weight.format, Int4Format) and linear.weight.format.is_fast(linear.weight.whole)


def _linears(block: Any) -> Iterator[object]:
    attention, mlp, per_layer = block.attention, block.feed_forward.mlp, block.per_layer_input
    yield from (attention.qkv, attention.out, mlp.gate_up, mlp.down)
    if per_layer is not None:
        yield from (per_layer.gate, per_layer.projection)


def _rounded_size(num_inputs: int) -> int:
    """Bytes of so many inputs: a number each, and for each 64 of them a step and a sum."""
    return int(num_inputs) + int(num_inputs) // LANES * 8


def _describe(record: Any, block: Block, spec: LayerSpec, cache: PagedCache) -> None:
    """Writes a LAYER."""
    attention, feed_forward, per_layer = block.attention, block.feed_forward, block.per_layer_input
    names = ["qkv", "out", "gate_up", "down", *(["gate", "projection"] if per_layer else [])]
    for name, linear in zip(names, _linears(block), strict=True):
        record[name] = _weight(linear)
    norms = {
        "attention_norm": block.attention_norm,
        "post_attention_norm": block.post_attention_norm,
        "pre_norm": feed_forward.pre_norm,
        "post_norm": feed_forward.post_norm,
    }
    for name, norm in norms.items() | ({"per_layer_norm": per_layer.norm}.items() if per_layer else set()):
        record[name] = norm.weight.data_ptr()
    record["qk_norm"] = attention.qk_norm.data_ptr()
    record["scalar"] = block.layer_scalar.item()
    record["kind"], record["kv"] = _KINDS.index(spec.kind), cache.layers[spec.kv_layer].kv_S2KE.data_ptr()
    record["num_kv_heads"], record["head_dim"] = spec.num_kv_heads, spec.head_dim
    record["is_reader"], record["k_is_v"] = spec.kv_source is not None, spec.k_is_v


def _weight(linear: Any) -> tuple[int, ...]:
    """A WEIGHT."""
    numbers, scales = linear.weight.whole
    num_groups, out_size, _ = scales.shape
    in_size = 2 * numbers.shape[1]
    return numbers.data_ptr(), scales.data_ptr(), out_size, in_size, in_size // num_groups
