"""Fits a model stored in 16 bits to the CPU that computes it: weights in the order in which its kernels read them."""

import logging

import torch
from torch import nn

from model.embeddings import ScaledEmbedding
from model.half_linear import HalfLinear
from model.layers import Linear
from model.moe import Experts
from model.packed_experts import PackedExperts
from model.packed_linear import PackedLinear
from model.quantization.swap import QuantizedTensor
from model.transformer import Transformer

logger = logging.getLogger(__name__)
# Below this many elements a call of the kernel costs more than it saves, and memory hardly counts.
_SMALLEST = 1 << 17


def multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for it; without them torch's bfloat16 is several times slower than float32."""
    has = torch.cpu.get_capabilities()
    return any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "avx10_2", "bf16"))


def is_quantized(model: Transformer) -> bool:
    """Whether any of its weights has 8 or 4 bits."""
    return any(isinstance(module, QuantizedTensor) for module in model.modules())


@torch.inference_mode(False)
def pack_16_bit(model: Transformer, *, in_bfloat16: bool | None = None, smallest: int = _SMALLEST) -> None:
    """Turns each 16-bit Linear and Experts into its packed twin: half the memory of float32, and faster.

    The twin computes in bfloat16 where this CPU can (or as `in_bfloat16` says), else in float32, and so does the model
    then. Weights of fewer than `smallest` elements are not packed. Embedding tables stay as they are: they are read by
    the row. Where the twins cannot be used (other devices and machines, weights that are not 16 bits wide or too large
    for them), the model is left alone.
    """
    if model.dtype == torch.float32:
        return
    kind = PackedLinear if (_computes_in_bfloat16(model) if in_bfloat16 is None else in_bfloat16) else HalfLinear
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Linear | Experts)}
    weights = [weight for module in layers.values() for weight in module.parameters(recurse=False) if weight.dim() > 1]
    # A quantised embedding has its own kernel.
    tables = [model.embedding.weight] if isinstance(model.embedding, ScaledEmbedding) else []
    if not all(kind.can_hold(weight) for weight in tables + weights):
        return
    if model.head is None and tables:
        model.head = kind(model.embedding.weight)
    for name, module in layers.items():
        owner, _, leaf = name.rpartition(".")
        if _size(module) >= smallest:
            setattr(model.get_submodule(owner), leaf, _packed(kind, module))
    if kind is HalfLinear:
        logger.info("16-bit weights are computed with in float32: they are few, or this CPU has no bfloat16 arithmetic")
        _widen(model)


def _computes_in_bfloat16(model: Transformer) -> bool:
    """Quantised weights have kernels of their own, and what is around them is faster in float32."""
    return multiplies_bfloat16() and not is_quantized(model)


def _size(module: Linear | Experts) -> int:
    """Elements of the weight that one matmul reads."""
    return module.down[0].numel() if isinstance(module, Experts) else module.weight.numel()


def _packed(
    kind: type[HalfLinear] | type[PackedLinear], module: Linear | Experts
) -> HalfLinear | PackedLinear | PackedExperts:
    if isinstance(module, Experts):
        return PackedExperts(kind, module.gate_up, module.down)
    return kind(module.weight, module.bias)


def _widen(model: nn.Module) -> None:
    for module in model.modules():
        if not isinstance(module, ScaledEmbedding | QuantizedTensor):
            for name, weight in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(weight.detach().float(), requires_grad=weight.requires_grad))
            for name, buffer in list(module.named_buffers(recurse=False)):
                setattr(module, name, buffer.float())
