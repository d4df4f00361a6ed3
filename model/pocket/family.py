"""The four pocket variants as literals: the structure of the published ones, at most four million parameters each.

They are as the shipped checkpoints are, two of which have a global layer after each two local ones, two after each.
"""

from model.config import AttentionShape, AudioConfig, ModelConfig, MoeConfig, TextConfig, VisionConfig
from model.pocket.tokenizer import SPECIALS, VOCAB_SIZE
from model.variants import GLOBAL_ROPE, LOCAL_ROPE, layer_pattern

CONTEXT = 8192
# Patches in a row or column: any shape at 70 soft tokens, up to 17:1 at 1120.
_POSITIONS = 280


def _vision(**differences: bool) -> VisionConfig:
    return VisionConfig(
        hidden_size=96,
        mlp_size=192,
        num_layers=3,
        num_heads=3,
        num_kv_heads=3,
        head_dim=32,
        pooling_kernel_size=2,
        position_table_size=_POSITIONS,
        default_output_length=70,
        **differences,
    )


def _model(text: TextConfig, vision: VisionConfig, audio: AudioConfig | None = None) -> ModelConfig:
    return ModelConfig(
        text=text,
        vision=vision,
        audio=audio,
        eos_token_ids=(1, SPECIALS["<turn|>"], SPECIALS["<|tool_response>"]),
        image_token_id=SPECIALS["<|image|>"],
        image_start_token_id=SPECIALS["<|image>"],
        image_end_token_id=SPECIALS["<image|>"],
        audio_token_id=SPECIALS["<|audio|>"],
        audio_start_token_id=SPECIALS["<|audio>"],
        audio_end_token_id=SPECIALS["<audio|>"],
        video_token_id=SPECIALS["<|video|>"],
    )


_SMALL_VISION = _vision(has_clipped_linears=True)
_LARGE_VISION = _vision(has_standardized_output=True)


_AUDIO = AudioConfig(hidden_size=96, num_layers=3, num_heads=4, conv_channels=(128, 16), output_size=128)


POCKET_E2B = _model(
    text=TextConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=128,
        mlp_size=256,
        num_heads=4,
        layer_kinds=layer_pattern(6, locals_per_global=2),
        local=AttentionShape(head_dim=32, num_kv_heads=1, rope=LOCAL_ROPE),
        global_=AttentionShape(head_dim=64, num_kv_heads=1, rope=GLOBAL_ROPE),
        sliding_window=512,
        max_position_embeddings=CONTEXT,
        num_kv_shared_layers=3,
        has_double_wide_shared_mlp=True,
        per_layer_size=16,
        per_layer_vocab_size=VOCAB_SIZE,
    ),
    vision=_SMALL_VISION,
    audio=_AUDIO,
)

POCKET_E4B = _model(
    text=TextConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=160,
        mlp_size=384,
        num_heads=4,
        layer_kinds=layer_pattern(6, locals_per_global=1),
        local=AttentionShape(head_dim=32, num_kv_heads=2, rope=LOCAL_ROPE),
        global_=AttentionShape(head_dim=64, num_kv_heads=2, rope=GLOBAL_ROPE),
        sliding_window=512,
        max_position_embeddings=CONTEXT,
        num_kv_shared_layers=3,
        per_layer_size=16,
        per_layer_vocab_size=VOCAB_SIZE,
    ),
    vision=_SMALL_VISION,
    audio=_AUDIO,
)

POCKET_26B_A4B = _model(
    text=TextConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=128,
        mlp_size=256,
        num_heads=4,
        layer_kinds=layer_pattern(6, locals_per_global=1),
        local=AttentionShape(head_dim=32, num_kv_heads=2, rope=LOCAL_ROPE),
        global_=AttentionShape(head_dim=64, num_kv_heads=1, rope=GLOBAL_ROPE, k_is_v=True),
        sliding_window=1024,
        max_position_embeddings=CONTEXT,
        moe=MoeConfig(num_experts=16, top_k=2, expert_size=48),
        has_bidirectional_images=True,
    ),
    vision=_LARGE_VISION,
)

POCKET_31B = _model(
    text=TextConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=192,
        mlp_size=512,
        num_heads=4,
        layer_kinds=layer_pattern(6, locals_per_global=2),
        local=AttentionShape(head_dim=32, num_kv_heads=2, rope=LOCAL_ROPE),
        global_=AttentionShape(head_dim=64, num_kv_heads=1, rope=GLOBAL_ROPE, k_is_v=True),
        sliding_window=1024,
        max_position_embeddings=CONTEXT,
        has_bidirectional_images=True,
    ),
    vision=_LARGE_VISION,
)

POCKET_VARIANTS: dict[str, ModelConfig] = {
    "e2b": POCKET_E2B,
    "e4b": POCKET_E4B,
    "26b-a4b": POCKET_26B_A4B,
    "31b": POCKET_31B,
}
