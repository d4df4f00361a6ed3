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


# vLLM keeps these whole on every rank: encoders are transformers' own modules, per-layer inputs replicated.
REPLICATED = {Part.PER_LAYER_INPUT, Part.SMALL, Part.ENCODERS}
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


def weight_bytes(config: ModelConfig, quantization: Quantization, ranks: int = 1) -> dict[Part, int]:
    """Bytes on one of `ranks` GPUs.

    Tensor and expert parallelism share the large matrices alike; that few key/value heads are repeated is left out,
    at most 30 MB.
    """
    bits = {
        Part.LINEAR: quantization.linear_bits,
        Part.PER_LAYER_INPUT: quantization.linear_bits,
        Part.EXPERTS: quantization.expert_bits,
    }
    return {
        part: math.ceil(count * bits.get(part, quantization.plain_bits) / 8 / (1 if part in REPLICATED else ranks))
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
