"""The published Gemma 4 variants as literals of one type: a diff of two models is a diff of two blocks.

Sources: the Hugging Face config.json of each checkpoint and google-deepmind/gemma `gm/nn/gemma4`.
"""

from __future__ import annotations

from model.config import (
    AttentionShape,
    AudioConfig,
    LayerKind,
    ModelConfig,
    MoeConfig,
    Rope,
    TextConfig,
    VisionConfig,
)

LOCAL_ROPE = Rope(theta=10_000.0)
GLOBAL_ROPE = Rope(theta=1_000_000.0, rotated_fraction=0.25)


def layer_pattern(num_layers: int, locals_per_global: int) -> tuple[LayerKind, ...]:
    """`locals_per_global` local layers, then a global one, repeated."""
    period = locals_per_global + 1
    return tuple(LayerKind.LOCAL if (i + 1) % period else LayerKind.GLOBAL for i in range(num_layers))


SMALL_VISION = VisionConfig(
    hidden_size=768,
    mlp_size=3072,
    num_layers=16,
    num_heads=12,
    num_kv_heads=12,
    head_dim=64,
    has_clipped_linears=True,
    has_standardized_output=False,
)

LARGE_VISION = VisionConfig(
    hidden_size=1152,
    mlp_size=4304,
    num_layers=27,
    num_heads=16,
    num_kv_heads=16,
    head_dim=72,
    has_clipped_linears=False,
    has_standardized_output=True,
)

AUDIO = AudioConfig(hidden_size=1024, num_layers=12, num_heads=8, output_size=1536)

E2B = ModelConfig(
    text=TextConfig(
        vocab_size=262_144,
        hidden_size=1536,
        mlp_size=6144,
        num_heads=8,
        layer_kinds=layer_pattern(35, locals_per_global=4),
        local=AttentionShape(head_dim=256, num_kv_heads=1, rope=LOCAL_ROPE),
        global_=AttentionShape(head_dim=512, num_kv_heads=1, rope=GLOBAL_ROPE),
        sliding_window=512,
        max_position_embeddings=131_072,
        num_kv_shared_layers=20,
        has_double_wide_shared_mlp=True,
        per_layer_size=256,
        per_layer_vocab_size=262_144,
    ),
    vision=SMALL_VISION,
    audio=AUDIO,
)

E4B = ModelConfig(
    text=TextConfig(
        vocab_size=262_144,
        hidden_size=2560,
        mlp_size=10_240,
        num_heads=8,
        layer_kinds=layer_pattern(42, locals_per_global=5),
        local=AttentionShape(head_dim=256, num_kv_heads=2, rope=LOCAL_ROPE),
        global_=AttentionShape(head_dim=512, num_kv_heads=2, rope=GLOBAL_ROPE),
        sliding_window=512,
        max_position_embeddings=131_072,
        num_kv_shared_layers=18,
        per_layer_size=256,
        per_layer_vocab_size=262_144,
    ),
    vision=SMALL_VISION,
    audio=AUDIO,
)

A4B_26B = ModelConfig(
    text=TextConfig(
        vocab_size=262_144,
        hidden_size=2816,
        mlp_size=2112,
        num_heads=16,
        layer_kinds=layer_pattern(30, locals_per_global=5),
        local=AttentionShape(head_dim=256, num_kv_heads=8, rope=LOCAL_ROPE),
        global_=AttentionShape(head_dim=512, num_kv_heads=2, rope=GLOBAL_ROPE, k_is_v=True),
        sliding_window=1024,
        max_position_embeddings=262_144,
        has_bidirectional_images=True,
        moe=MoeConfig(num_experts=128, top_k=8, expert_size=704),
    ),
    vision=LARGE_VISION,
)

DENSE_31B = ModelConfig(
    text=TextConfig(
        vocab_size=262_144,
        hidden_size=5376,
        mlp_size=21_504,
        num_heads=32,
        layer_kinds=layer_pattern(60, locals_per_global=5),
        local=AttentionShape(head_dim=256, num_kv_heads=16, rope=LOCAL_ROPE),
        global_=AttentionShape(head_dim=512, num_kv_heads=4, rope=GLOBAL_ROPE, k_is_v=True),
        sliding_window=1024,
        max_position_embeddings=262_144,
        has_bidirectional_images=True,
    ),
    vision=LARGE_VISION,
)

VARIANTS: dict[str, ModelConfig] = {"e2b": E2B, "e4b": E4B, "26b-a4b": A4B_26B, "31b": DENSE_31B}
