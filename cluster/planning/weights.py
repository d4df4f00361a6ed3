"""Parameters of a variant by what becomes of them, and their bytes on each of the GPUs that share it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from cluster.planning.encoders import encoder_parameters
from cluster.planning.quantization import Quantization
from model.config import ModelConfig
from model.weight_map import Pieces, weight_map


class Part(StrEnum):
    """Weights that are quantised, and shared between ranks, alike."""

    EMBEDDING = "embedding"
    PER_LAYER_TABLE = "per-layer embedding"
    LINEAR = "linear layers"
    EXPERTS = "experts"
    PER_LAYER_INPUT = "per-layer inputs"
    SMALL = "norms and routers"
    ENCODERS = "encoders"


# What tensor-parallel ranks of vLLM share. Whole on each: encoders, which are transformers' own modules, and others.
TENSOR_PARALLEL = frozenset({Part.EMBEDDING, Part.PER_LAYER_TABLE, Part.LINEAR, Part.EXPERTS})
# What ranks of the native engine share: each computes its own sequences, and its share of experts for all.
EXPERT_PARALLEL = frozenset({Part.EXPERTS})
_LINEAR = {"qkv.weight", "out.weight", "gate_up.weight", "down.weight", "context.weight"}


@functools.cache
def parameters(config: ModelConfig) -> Mapping[Part, int]:
    """How many there are of each part, zeros included; layer scalars are buffers and do not count."""
    counts = dict.fromkeys(Part, 0)
    for name, pieces in weight_map(config.text, "").items():
        if not name.endswith("layer_scalar"):
            counts[_part(name)] += _size(pieces)
    counts[Part.ENCODERS] = encoder_parameters(config)
    return MappingProxyType(counts)


def weight_bytes(
    config: ModelConfig, quantization: Quantization, ranks: int = 1, shared: frozenset[Part] = TENSOR_PARALLEL
) -> dict[Part, int]:
    """Bytes on one of `ranks` that share some parts and repeat the others.

    With or without expert parallelism vLLM's ranks share experts alike. That they repeat key/value heads which are
    fewer than ranks is left out, at most 30 MB.
    """
    bits = {
        Part.LINEAR: quantization.linear_bits,
        Part.PER_LAYER_INPUT: quantization.linear_bits,
        Part.EXPERTS: quantization.expert_bits,
    }
    return {
        part: math.ceil(count * bits.get(part, quantization.plain_bits) / 8 / (ranks if part in shared else 1))
        for part, count in parameters(config).items()
    }


def _part(name: str) -> Part:
    if name.startswith("per_layer_embedding.table"):
        return Part.PER_LAYER_TABLE
    if name.startswith(("embedding.", "head.")):
        return Part.EMBEDDING
    if ".experts." in name:
        return Part.EXPERTS
    if "per_layer_input.gate" in name or "per_layer_input.projection" in name:
        return Part.PER_LAYER_INPUT
    return Part.LINEAR if ".".join(name.split(".")[-2:]) in _LINEAR else Part.SMALL


def _size(pieces: Pieces) -> int:
    return sum(math.prod(piece.shape) for piece in pieces)
