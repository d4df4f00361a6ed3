"""The four tiny variants as literals: the structure of the published ones, a few hundred thousand parameters each."""

from model.config import AttentionShape, AudioConfig, ModelConfig, MoeConfig, TextConfig, VisionConfig
from model.tiny.tokenizer import SPECIALS, VOCAB_SIZE
from model.variants import GLOBAL_ROPE, LOCAL_ROPE, layer_pattern


def _vision(**differences: bool) -> VisionConfig:
    return VisionConfig(
        hidden_size=32,
        mlp_size=64,
        num_layers=2,
        num_heads=2,
        num_kv_heads=2,
        head_dim=16,
        position_table_size=4096,  # patches along one side; the longest image of 1120 soft tokens has 3360
        **differences,
    )


def _model(text: TextConfig, vision: VisionConfig, audio: AudioConfig | None = None) -> ModelConfig:
    return ModelConfig(
        text=text,
        vision=vision,
        audio=audio,
        image_token_id=SPECIALS["<|image|>"],
        image_start_token_id=SPECIALS["<|image>"],
        image_end_token_id=SPECIALS["<image|>"],
        audio_token_id=SPECIALS["<|audio|>"],
        audio_start_token_id=SPECIALS["<|audio>"],
        audio_end_token_id=SPECIALS["<audio|>"],
        video_token_id=SPECIALS["<|video|>"],
        dtype="float32",
    )


_SMALL_VISION = _vision(has_clipped_linears=True)
_LARGE_VISION = _vision(has_standardized_output=True)
_AUDIO = AudioConfig(hidden_size=32, num_layers=2, num_heads=2, conv_channels=(128, 8), output_size=48)

TINY_E2B = _model(
    text=TextConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        mlp_size=64,
        num_heads=4,
        layer_kinds=layer_pattern(10, locals_per_global=4),
        local=AttentionShape(head_dim=32, num_kv_heads=1, rope=LOCAL_ROPE),
        global_=AttentionShape(head_dim=64, num_kv_heads=1, rope=GLOBAL_ROPE),
        sliding_window=64,
        max_position_embeddings=32_768,
        num_kv_shared_layers=5,
        has_double_wide_shared_mlp=True,
        per_layer_size=8,
        per_layer_vocab_size=VOCAB_SIZE,
    ),
    vision=_SMALL_VISION,
    audio=_AUDIO,
)

TINY_E4B = _model(
    text=TextConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        mlp_size=96,
        num_heads=4,
        layer_kinds=layer_pattern(12, locals_per_global=5),
        local=AttentionShape(head_dim=32, num_kv_heads=2, rope=LOCAL_ROPE),
        global_=AttentionShape(head_dim=64, num_kv_heads=2, rope=GLOBAL_ROPE),
        sliding_window=64,
        max_position_embeddings=32_768,
        num_kv_shared_layers=5,
        per_layer_size=8,
        per_layer_vocab_size=VOCAB_SIZE,
    ),
    vision=_SMALL_VISION,
    audio=_AUDIO,
)

TINY_26B_A4B = _model(
    text=TextConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=32,
        mlp_size=64,
        num_heads=4,
        layer_kinds=layer_pattern(6, locals_per_global=5),
        local=AttentionShape(head_dim=32, num_kv_heads=2, rope=LOCAL_ROPE),
        global_=AttentionShape(head_dim=64, num_kv_heads=1, rope=GLOBAL_ROPE, k_is_v=True),
        sliding_window=128,
        max_position_embeddings=65_536,
        moe=MoeConfig(num_experts=128, top_k=8, expert_size=4),
        has_bidirectional_images=True,
    ),
    vision=_LARGE_VISION,
)

TINY_31B = _model(
    text=TextConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        mlp_size=192,
        num_heads=8,
        layer_kinds=layer_pattern(6, locals_per_global=5),
        local=AttentionShape(head_dim=32, num_kv_heads=4, rope=LOCAL_ROPE),
        global_=AttentionShape(head_dim=64, num_kv_heads=1, rope=GLOBAL_ROPE, k_is_v=True),
        sliding_window=128,
        max_position_embeddings=65_536,
        has_bidirectional_images=True,
    ),
    vision=_LARGE_VISION,
)

TINY_VARIANTS: dict[str, ModelConfig] = {
    "e2b": TINY_E2B,
    "e4b": TINY_E4B,
    "26b-a4b": TINY_26B_A4B,
    "31b": TINY_31B,
}
