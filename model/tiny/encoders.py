"""Names and shapes of the vision and audio encoders' weights, as a multimodal checkpoint stores them.

Source: the modules of transformers' Gemma4ForConditionalGeneration; a test loads the result there.
"""

from collections.abc import Iterator

from model.config import AudioConfig, ModelConfig, VisionConfig

Shape = tuple[int, ...]
_BOUNDS = ("input_min", "input_max", "output_min", "output_max")


def encoder_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Weight name -> shape for the encoders the config has; {} for a text model."""
    shapes: dict[str, Shape] = {}
    if config.vision is not None:
        shapes |= dict(_vision(config.vision))
        projection = (config.text.hidden_size, config.vision.hidden_size)
        shapes["model.embed_vision.embedding_projection.weight"] = projection
    if config.audio is not None:
        shapes |= dict(_audio(config.audio))
        projection = (config.text.hidden_size, config.audio.output_size)
        shapes["model.embed_audio.embedding_projection.weight"] = projection
    return shapes


def _vision(vision: VisionConfig) -> Iterator[tuple[str, Shape]]:
    tower, hidden = "model.vision_tower.", vision.hidden_size
    yield f"{tower}patch_embedder.position_embedding_table", (2, vision.position_table_size, hidden)
    yield f"{tower}patch_embedder.input_proj.weight", (hidden, 3 * vision.patch_size**2)
    if vision.has_standardized_output:
        yield f"{tower}std_bias", (hidden,)
        yield f"{tower}std_scale", (hidden,)
    for index in range(vision.num_layers):
        yield from _vision_layer(vision, f"{tower}encoder.layers.{index}.")


def _vision_layer(vision: VisionConfig, layer: str) -> Iterator[tuple[str, Shape]]:
    hidden, mlp, clipped = vision.hidden_size, vision.mlp_size, vision.has_clipped_linears
    queries, keys = vision.num_heads * vision.head_dim, vision.num_kv_heads * vision.head_dim
    yield from _linear(f"{layer}self_attn.q_proj.", (queries, hidden), clipped)
    yield from _linear(f"{layer}self_attn.k_proj.", (keys, hidden), clipped)
    yield from _linear(f"{layer}self_attn.v_proj.", (keys, hidden), clipped)
    yield from _linear(f"{layer}self_attn.o_proj.", (hidden, queries), clipped)
    yield from _linear(f"{layer}mlp.gate_proj.", (mlp, hidden), clipped)
    yield from _linear(f"{layer}mlp.up_proj.", (mlp, hidden), clipped)
    yield from _linear(f"{layer}mlp.down_proj.", (hidden, mlp), clipped)
    for norm in ("q_norm", "k_norm"):
        yield f"{layer}self_attn.{norm}.weight", (vision.head_dim,)
    for norm in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
        yield f"{layer}{norm}_layernorm.weight", (hidden,)


def _audio(audio: AudioConfig) -> Iterator[tuple[str, Shape]]:
    tower, hidden = "model.audio_tower.", audio.hidden_size
    first, second = audio.conv_channels
    convolutions = f"{tower}subsample_conv_projection."
    for index, shape in enumerate(((first, 1, 3, 3), (second, first, 3, 3))):
        yield f"{convolutions}layer{index}.conv.weight", shape
        yield f"{convolutions}layer{index}.norm.weight", shape[:1]
    # Two strided convolutions leave a quarter of the mel bins, of which there are as many as first channels.
    yield f"{convolutions}input_proj_linear.weight", (hidden, first // 4 * second)
    for index in range(audio.num_layers):
        yield from _audio_layer(audio, f"{tower}layers.{index}.")
    yield f"{tower}output_proj.weight", (audio.output_size, hidden)
    yield f"{tower}output_proj.bias", (audio.output_size,)


def _audio_layer(audio: AudioConfig, layer: str) -> Iterator[tuple[str, Shape]]:
    hidden, clipped = audio.hidden_size, audio.has_clipped_linears
    for half in ("feed_forward1.", "feed_forward2."):
        yield from _linear(f"{layer}{half}ffw_layer_1.", (4 * hidden, hidden), clipped)
        yield from _linear(f"{layer}{half}ffw_layer_2.", (hidden, 4 * hidden), clipped)
        yield f"{layer}{half}pre_layer_norm.weight", (hidden,)
        yield f"{layer}{half}post_layer_norm.weight", (hidden,)
    for name in ("q_proj", "k_proj", "v_proj", "post"):
        yield from _linear(f"{layer}self_attn.{name}.", (hidden, hidden), clipped)
    yield f"{layer}self_attn.relative_k_proj.weight", (hidden, hidden)
    yield f"{layer}self_attn.per_dim_scale", (hidden // audio.num_heads,)
    yield from _linear(f"{layer}lconv1d.linear_start.", (2 * hidden, hidden), clipped)
    yield from _linear(f"{layer}lconv1d.linear_end.", (hidden, hidden), clipped)
    yield f"{layer}lconv1d.depthwise_conv1d.weight", (hidden, 1, audio.conv_kernel_size)
    for norm in ("lconv1d.pre_layer_norm", "lconv1d.conv_norm", "norm_pre_attn", "norm_post_attn", "norm_out"):
        yield f"{layer}{norm}.weight", (hidden,)


def _linear(name: str, shape: Shape, is_clipped: bool) -> Iterator[tuple[str, Shape]]:
    yield f"{name}linear.weight", shape
    if is_clipped:
        yield from ((f"{name}{bound}", ()) for bound in _BOUNDS)
