"""Which checkpoint tensors make which of Transformer's weights, and how many parameters that is.

Our fused weights are several of theirs stacked by rows: q, k and v; gate and up; one norm row per head.
Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from model.config import LayerSpec, TextConfig

HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Piece:
    """One tensor of theirs inside one of ours: its name, its shape, and the rows it fills (None: all).

    With `entries` only those of its first dimension are ours, in that order.
    """

    name: str
    shape: tuple[int, ...]
    rows: slice | None = None
    entries: tuple[int, ...] | None = None

    @property
    def num_elements(self) -> int:
        """Of the part that is ours."""
        shape = self.shape if self.entries is None else (len(self.entries), *self.shape[1:])
        return math.prod(shape)


Pieces: TypeAlias = tuple[Piece, ...]


def weight_map(config: TextConfig, prefix: str) -> dict[str, Pieces]:
    """Each of Transformer's parameters and buffers -> the checkpoint tensors it is made of."""
    hidden, vocab = config.hidden_size, config.vocab_size
    weights = {
        "embedding.weight": _whole(f"{prefix}embed_tokens.weight", vocab, hidden),
        "final_norm.weight": _whole(f"{prefix}norm.weight", hidden),
    }
    if not config.has_tied_embeddings:
        weights["head.weight"] = _whole(HEAD, vocab, hidden)
    if config.per_layer_size:
        weights |= _per_layer_embedding(config, prefix)
    for spec in config.layers:
        layer = _layer(config, spec, f"{prefix}layers.{spec.index}.")
        weights |= {f"blocks.{spec.index}.{name}": pieces for name, pieces in layer}
    return weights


def _per_layer_embedding(config: TextConfig, prefix: str) -> dict[str, Pieces]:
    packed = config.num_layers * config.per_layer_size
    ours = "per_layer_embedding."
    return {
        f"{ours}table.weight": _whole(f"{prefix}embed_tokens_per_layer.weight", config.per_layer_vocab_size, packed),
        f"{ours}context.weight": _whole(f"{prefix}per_layer_model_projection.weight", packed, config.hidden_size),
        f"{ours}context_norm.weight": _whole(f"{prefix}per_layer_projection_norm.weight", config.per_layer_size),
    }


def _layer(config: TextConfig, spec: LayerSpec, prefix: str) -> Iterator[tuple[str, Pieces]]:
    hidden, mlp = config.hidden_size, spec.mlp_size
    yield "attention_norm.weight", _whole(f"{prefix}input_layernorm.weight", hidden)
    yield from _attention(config, spec, f"{prefix}self_attn.")
    yield "post_attention_norm.weight", _whole(f"{prefix}post_attention_layernorm.weight", hidden)
    yield "feed_forward.pre_norm.weight", _whole(f"{prefix}pre_feedforward_layernorm.weight", hidden)
    gate_up = [(f"{prefix}mlp.gate_proj.weight", mlp), (f"{prefix}mlp.up_proj.weight", mlp)]
    yield "feed_forward.mlp.gate_up.weight", _stacked(gate_up, hidden)
    yield "feed_forward.mlp.down.weight", _whole(f"{prefix}mlp.down_proj.weight", hidden, mlp)
    yield "feed_forward.post_norm.weight", _whole(f"{prefix}post_feedforward_layernorm.weight", hidden)
    if config.moe is not None:
        yield from _experts(config, prefix)
    if config.per_layer_size:
        size = config.per_layer_size
        yield "per_layer_input.gate.weight", _whole(f"{prefix}per_layer_input_gate.weight", size, hidden)
        yield (
            "per_layer_input.projection.weight",
            _whole(f"{prefix}per_layer_projection.weight", hidden, size),
        )
        yield "per_layer_input.norm.weight", _whole(f"{prefix}post_per_layer_input_norm.weight", hidden)
    yield "layer_scalar", _whole(f"{prefix}layer_scalar", 1)


def _attention(config: TextConfig, spec: LayerSpec, prefix: str) -> Iterator[tuple[str, Pieces]]:
    heads = {"q": config.num_heads}
    if spec.kv_source is None:
        heads |= {"k": spec.num_kv_heads} | ({} if spec.k_is_v else {"v": spec.num_kv_heads})
    rows = [(name, count * spec.head_dim) for name, count in heads.items()]
    yield (
        "attention.qkv.weight",
        _stacked([(f"{prefix}{n}_proj.weight", r) for n, r in rows], config.hidden_size),
    )
    out_columns = config.num_heads * spec.head_dim
    yield "attention.out.weight", _whole(f"{prefix}o_proj.weight", config.hidden_size, out_columns)
    if config.has_attention_bias:
        yield "attention.qkv.bias", _stacked([(f"{prefix}{n}_proj.bias", r) for n, r in rows])
        yield "attention.out.bias", _whole(f"{prefix}o_proj.bias", config.hidden_size)
    norms = [(f"{prefix}{n}_norm.weight", count) for n, count in heads.items() if n != "v"]
    yield "attention.qk_norm", _repeated(norms, spec.head_dim)


def _experts(config: TextConfig, prefix: str) -> Iterator[tuple[str, Pieces]]:
    assert config.moe is not None
    hidden, count, width = config.hidden_size, config.moe.num_experts, config.moe.expert_size
    ours = "feed_forward.moe."
    yield "feed_forward.mlp_norm.weight", _whole(f"{prefix}post_feedforward_layernorm_1.weight", hidden)
    yield f"{ours}pre_norm.weight", _whole(f"{prefix}pre_feedforward_layernorm_2.weight", hidden)
    yield f"{ours}post_norm.weight", _whole(f"{prefix}post_feedforward_layernorm_2.weight", hidden)
    yield f"{ours}router.scale", _whole(f"{prefix}router.scale", hidden)
    yield f"{ours}router.projection.weight", _whole(f"{prefix}router.proj.weight", count, hidden)
    yield f"{ours}router.per_expert_scale", _whole(f"{prefix}router.per_expert_scale", count)
    yield f"{ours}experts.gate_up", _whole(f"{prefix}experts.gate_up_proj", count, 2 * width, hidden)
    yield f"{ours}experts.down", _whole(f"{prefix}experts.down_proj", count, hidden, width)


def _whole(name: str, *shape: int) -> Pieces:
    return (Piece(name, shape),)


def _stacked(parts: Iterable[tuple[str, int]], *columns: int) -> Pieces:
    """Tensors of the given rows, one above the other."""
    pieces, start = [], 0
    for name, rows in parts:
        pieces.append(Piece(name, (rows, *columns), slice(start, start + rows)))
        start += rows
    return tuple(pieces)


def _repeated(parts: Iterable[tuple[str, int]], dim: int) -> Pieces:
    """Vectors, each repeated over its number of rows."""
    return tuple(Piece(piece.name, (dim,), piece.rows) for piece in _stacked(parts))


def num_parameters(config: TextConfig) -> int:
    """Parameters of the text decoder as a checkpoint stores them; layer scalars are buffers and do not count."""
    weights = [pieces for name, pieces in weight_map(config, "").items() if not name.endswith("layer_scalar")]
    return sum(math.prod(piece.shape) for pieces in weights for piece in pieces)


def num_active_parameters(config: TextConfig) -> int:
    """Parameters of which one token makes use: of a mixture of experts, only the top-k."""
    if config.moe is None:
        return num_parameters(config)
    idle_per_layer = (config.moe.num_experts - config.moe.top_k) * 3 * config.moe.expert_size * config.hidden_size
    return num_parameters(config) - config.num_layers * idle_per_layer
