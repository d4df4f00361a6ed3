"""Random checkpoints of each variant's structure, written by transformers, with which we must agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from transformers.models.gemma4.configuration_gemma4 import (
    Gemma4AudioConfig,
    Gemma4Config,
    Gemma4TextConfig,
    Gemma4VisionConfig,
)
from transformers.models.gemma4.modeling_gemma4 import Gemma4ForCausalLM, Gemma4ForConditionalGeneration

# Toy matrices: a second thread only waits for the first, and for every other process on the machine.
torch.set_num_threads(1)

MakeCheckpoint = Callable[..., Path]
VARIANT_NAMES = ("e2b", "e4b", "26b-a4b", "31b")

LOCAL, GLOBAL = "sliding_attention", "full_attention"

# What makes each variant different, at toy size. The pattern is layers per period, the last of them global.
_STRUCTURES: dict[str, dict[str, Any]] = {
    "e2b": {"num_key_value_heads": 1, "use_double_wide_mlp": True, "hidden_size_per_layer_input": 8},
    "e4b": {"num_key_value_heads": 2, "hidden_size_per_layer_input": 8},
    "26b-a4b": {
        "num_key_value_heads": 4,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "use_bidirectional_attention": "vision",
        "enable_moe_block": True,
        "num_experts": 8,
        "top_k_experts": 2,
        "moe_intermediate_size": 24,
    },
    "31b": {
        "num_key_value_heads": 4,
        "num_global_key_value_heads": 2,
        "attention_k_eq_v": True,
        "use_bidirectional_attention": "vision",
    },
}
_SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "hidden_size": 64,
        "intermediate_size": 80,
        "num_attention_heads": 4,
        "head_dim": 16,
        "global_head_dim": 32,
        "sliding_window": 8,
        "layer_types": [LOCAL, LOCAL, GLOBAL, LOCAL, LOCAL, GLOBAL],
    },
    "medium": {
        "hidden_size": 128,
        "intermediate_size": 192,
        "num_attention_heads": 8,
        "head_dim": 32,
        "global_head_dim": 64,
        "sliding_window": 16,
        "layer_types": ([LOCAL] * 4 + [GLOBAL]) * 3,
    },
}
_NUM_KV_SHARED = {"small": 3, "medium": 8}


def text_config(variant: str, size: str = "small", **overrides: Any) -> Gemma4TextConfig:
    """A toy text config with the structure of `variant`."""
    values: dict[str, Any] = {
        "vocab_size": 300,
        "vocab_size_per_layer_input": 300,
        "hidden_size_per_layer_input": 0,
        "max_position_embeddings": 512,
        "final_logit_softcapping": 30.0,
        "eos_token_id": [1, 106],
        **_SIZES[size],
        **_STRUCTURES[variant],
    }
    values["num_hidden_layers"] = len(values["layer_types"])
    if variant in ("e2b", "e4b"):
        values["num_kv_shared_layers"] = _NUM_KV_SHARED[size]
    return Gemma4TextConfig(**(values | overrides))


def multimodal_config(variant: str, size: str = "small", **overrides: Any) -> Gemma4Config:
    """The toy text config with toy encoders: vision for all, audio for the variants that hear."""
    hears = variant in ("e2b", "e4b")
    vision = Gemma4VisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        position_embedding_size=64,
        use_clipped_linears=hears,
        standardize=not hears,
    )
    audio = Gemma4AudioConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        subsampling_conv_channels=[128, 8],
        output_proj_dims=48,
    )
    return Gemma4Config(
        text_config=text_config(variant, size, **overrides),
        vision_config=vision,
        audio_config=audio if hears else None,
        image_token_id=290,
        video_token_id=291,
        audio_token_id=292,
    )


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Give every stored number a value that shows: in a fresh model all norms and scales are 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(model.state_dict().items()):
        if name.endswith(("_min", "_max")):
            continue  # the encoders' clipping bounds
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            # Attention scale is 1, so these set its temperature: near 1 every softmax is an unstable argmax.
            tensor.uniform_(0.2, 0.5, generator=generator)
        elif tensor.dim() < 2:
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif "embed_tokens.weight" in name or "lm_head" in name:
            tensor.normal_(0, 0.5, generator=generator)
        else:
            tensor.normal_(0, tensor.shape[-1] ** -0.5, generator=generator)


def reference_model(variant: str, seed: int, size: str = "small", *, text_only: bool = False, **overrides: Any) -> Any:
    """A random transformers model, float32, eager attention. `overrides` change the text config."""
    model: PreTrainedModel
    if text_only:
        model = Gemma4ForCausalLM(text_config(variant, size, **overrides))
    else:
        model = Gemma4ForConditionalGeneration(multimodal_config(variant, size, **overrides))
    randomize(model, seed)
    model.set_attn_implementation("eager")
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """`make_checkpoint(variant, seed, size="small") -> Path`: a random checkpoint, written once per session.

    No tokenizer in it. Further keywords: `text_only` (no encoders, Gemma4ForCausalLM), `max_shard_size`, and
    text config overrides.
    """
    made: dict[str, Path] = {}

    def make(variant: str, seed: int, size: str = "small", *, max_shard_size: str = "1GB", **options: Any) -> Path:
        key = repr((variant, seed, size, max_shard_size, sorted(options.items())))
        if key not in made:
            path = tmp_path_factory.mktemp(f"{variant}-{size}-{seed}")
            reference_model(variant, seed, size, **options).save_pretrained(path, max_shard_size=max_shard_size)
            made[key] = path
        return made[key]

    return make
