"""How weights can be stored, as bits of a parameter: 16-bit, and what each engine can make or load."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.planning.errors import PlanError, unknown
from model.config import ModelConfig


@dataclass(frozen=True)
class Quantization:
    """Bits of a decoder matrix's parameter, scales included.

    Of linear layers, and of experts. Embedding tables, norms, routers and encoders stay `plain_bits` wide.
    """

    name: str
    linear_bits: float
    expert_bits: float
    plain_bits: int = 16

    @property
    def bits(self) -> float:
        """Of both together: what is smaller has fewer."""
        return self.linear_bits + self.expert_bits


# One scale for each output weighs nothing; int4 has a 16-bit scale for each 32 inputs.
VLLM_QUANTIZATIONS = {
    q.name: q
    for q in (
        Quantization("bf16", 16, 16),
        Quantization("fp8", 8, 8),
        Quantization("int8", 16, 8),
        Quantization("w4a16", 4.5, 16),
    )
}
# The native engine's formats; int4 in groups of 64 with scale and zero point.
NATIVE_QUANTIZATIONS = {
    q.name: q
    for q in (
        Quantization("bf16", 16, 16),
        Quantization("int8", 8, 8),
        Quantization("int4", 4.5, 4.5),
    )
}


# Google's own, quantised in training, for vLLM.
W4A16_CHECKPOINTS = {
    "e2b": "google/gemma-4-E2B-it-qat-w4a16-ct",
    "e4b": "google/gemma-4-E4B-it-qat-w4a16-ct",
    "31b": "google/gemma-4-31B-it-qat-w4a16-ct",
}
FLOAT32 = Quantization("float32", 32, 32, 32)


def find_quantization(name: str, engine: str, config: ModelConfig) -> Quantization:
    """By name. PlanError for one that the engine does not have, or that this model gains nothing from."""
    known = NATIVE_QUANTIZATIONS if engine == "native" else VLLM_QUANTIZATIONS
    if name.lower() not in known:
        raise unknown(f"quantization of the {engine} engine", name, known)
    found, has_experts = known[name.lower()], config.text.moe is not None
    if engine == "vllm" and found.name == "int8" and not has_experts:
        raise PlanError("int8 takes experts only, and this variant has none; use fp8 or w4a16")
    if engine == "vllm" and found.name == "w4a16" and has_experts:
        raise PlanError("w4a16 has no checkpoint with experts, which are too narrow; use int8 or fp8")
    return found
