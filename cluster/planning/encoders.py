"""Parameters of the vision and audio encoders, counted from their configs without building them."""

from __future__ import annotations

from model.config import AudioConfig, ModelConfig, VisionConfig

_CHANNELS = 3
_KERNEL = 3 * 3
_STRIDES = 2 * 2


def encoder_parameters(config: ModelConfig) -> int:
    """Of both encoders, with their projections into the text decoder's width."""
    text, total = config.text.hidden_size, 0
    if config.vision is not None:
        total += _vision(config.vision) + config.vision.hidden_size * text
    if config.audio is not None:
        total += _audio(config.audio) + config.audio.output_size * text
    return total


def _vision(config: VisionConfig) -> int:
    hidden = config.hidden_size
    embedder = (_CHANNELS * config.patch_size**2 + 2 * config.position_table_size) * hidden
    heads = 2 * config.num_heads + 2 * config.num_kv_heads
    attention = heads * config.head_dim * hidden + 2 * config.head_dim
    return embedder + config.num_layers * (attention + 3 * hidden * config.mlp_size + 4 * hidden)


def _audio(config: AudioConfig) -> int:
    hidden, (first, second) = config.hidden_size, config.conv_channels
    # The first convolution has as many channels as there are mel bins.
    subsampling = _KERNEL * (first + first * second) + first + second + first // _STRIDES * second * hidden
    feed_forwards = 2 * (8 * hidden**2 + 2 * hidden)
    attention = 5 * hidden**2 + hidden // config.num_heads + 2 * hidden
    convolution = 3 * hidden**2 + (config.conv_kernel_size + 2) * hidden
    output = (hidden + 1) * config.output_size
    return subsampling + config.num_layers * (feed_forwards + attention + convolution + hidden) + output
