"""Puts quantised modules where a text decoder has float ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import nn

from model.embeddings import ScaledEmbedding
from model.layers import Layer, Linear
from model.mlp import Mlp
from model.moe import Experts, Router
from model.quantization.embedding import QuantizedEmbedding
from model.quantization.experts import QuantizedExperts
from model.quantization.format import Format
from model.quantization.int4 import Int4Format
from model.quantization.int8 import Int8Format
from model.quantization.linear import QuantizedLinear
from model.quantization.mlp import QuantizedMlp
from model.quantization.rows import QuantizedRows
from model.quantization.scheme import Quantization
from model.quantization.weight import QuantizedWeight
from model.transformer import Transformer

QuantizedTensor: TypeAlias = QuantizedWeight | QuantizedRows


def quantize_modules(
    model: nn.Module, scheme: Quantization, dtype: torch.dtype, *, has_quantized_tables: bool
) -> dict[str, QuantizedTensor]:
    """Replaces the decoder's matrices, in place; returns what has to be filled, by the name of the float weight.

    Norms, layer scalars and the MoE router stay whole, as do encoders and what the formats cannot take. Embeddings
    that are looked up only (per-layer, or not tied to the head) are quantised if `has_quantized_tables`.
    `dtype` is that of activations. Call it under the device the model was built under.
    """
    weight_format: Format = Int8Format() if scheme.bits == 8 else Int4Format(scheme.group_size)
    for text in [module for module in model.modules() if isinstance(module, Transformer)]:
        for parent, name, module in list(_matrices(text)):
            if not isinstance(module, ScaledEmbedding):
                replacement = _replacement(module, weight_format)
            elif module.is_head:
                replacement = _head(module, weight_format, dtype)
            else:
                replacement = _table(module, scheme, dtype) if has_quantized_tables else None
            if replacement is not None:
                setattr(parent, name, replacement)
        _join_mlps(text)
    return {name: module for name, module in model.named_modules() if isinstance(module, QuantizedTensor)}


def _matrices(parent: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    for name, module in parent.named_children():
        if isinstance(module, Linear | Experts | ScaledEmbedding):
            yield parent, name, module
        elif not isinstance(module, Router):
            yield from _matrices(module)


def _replacement(module: nn.Module, weight_format: Format) -> Layer | None:
    if isinstance(module, Linear) and weight_format.fits(*module.weight.shape):
        return QuantizedLinear(module, weight_format)
    if isinstance(module, Experts) and _fits_experts(module, weight_format):
        return QuantizedExperts(module, weight_format)
    return None


def _join_mlps(text: Transformer) -> None:
    for module in list(text.modules()):
        mlp = getattr(module, "mlp", None)
        if isinstance(mlp, Mlp):
            gate_up, down = mlp._modules["gate_up"], mlp._modules["down"]
            if not isinstance(gate_up, QuantizedLinear) or not isinstance(down, QuantizedLinear):
                continue
            if QuantizedMlp.fits(gate_up):
                module.mlp = QuantizedMlp(gate_up, down)


def _fits_experts(experts: Experts, weight_format: Format) -> bool:
    return all(weight_format.fits(*weight.shape[1:]) for weight in (experts.gate_up, experts.down))


def _head(embedding: ScaledEmbedding, weight_format: Format, dtype: torch.dtype) -> Layer | None:
    if not weight_format.fits(*embedding.weight.shape):
        return None
    return QuantizedEmbedding(embedding, QuantizedWeight(weight_format, *embedding.weight.shape), dtype)


def _table(embedding: ScaledEmbedding, scheme: Quantization, dtype: torch.dtype) -> Layer | None:
    num_rows, dim = embedding.weight.shape
    if not QuantizedRows.fits(dim):
        return None
    return QuantizedEmbedding(embedding, QuantizedRows(scheme, num_rows, dim), dtype)
