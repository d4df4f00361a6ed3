"""How many ranks can share a model, with each engine."""

from __future__ import annotations

from model.config import TextConfig


def rank_counts(text: TextConfig, engine: str, most: int) -> list[int]:
    """Numbers of ranks up to `most`."""
    return [ranks for ranks in range(1, most + 1) if is_divisible(text, engine, ranks)]


def is_divisible(text: TextConfig, engine: str, ranks: int) -> bool:
    """Can so many ranks share the model?

    vLLM divides query heads, MLP columns and experts evenly; key/value heads too, or repeats them evenly. The native
    engine divides experts alone.
    """
    num_experts = 1 if text.moe is None else text.moe.num_experts
    if engine == "native":
        return num_experts % ranks == 0
    shared = [text.num_heads, *(spec.mlp_size for spec in text.layers)]
    if text.moe is not None:
        shared.append(num_experts)
    kv_heads = {spec.num_kv_heads for spec in text.layers}
    return all(size % ranks == 0 for size in shared) and all(
        heads % ranks == 0 or ranks % heads == 0 for heads in kv_heads
    )
