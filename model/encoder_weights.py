"""What checkpoints call the encoders' weights: our dotted names with some of their parts replaced."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from model.weight_map import Piece, Pieces

VISION_NAMES = {
    "tower": "vision_tower",
    "projector": "embed_vision",
    "embedder": "patch_embedder",
    "projection": "input_proj",
    "position_table": "position_embedding_table",
    "layers": "encoder.layers",
    "attention": "self_attn",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "out": "o_proj",
    "query_norm": "q_norm",
    "key_norm": "k_norm",
    "gate": "gate_proj",
    "up": "up_proj",
    "down": "down_proj",
    "attention_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "post_mlp_norm": "post_feedforward_layernorm",
    "pooler": "",
    "to_text": "embedding_projection",
}
AUDIO_NAMES = {
    "tower": "audio_tower",
    "projector": "embed_audio",
    "subsampling": "subsample_conv_projection",
    "first": "layer0",
    "second": "layer1",
    "kernel": "conv.weight",
    "norm_weight": "norm.weight",
    "projection": "input_proj_linear",
    "feed_forward_before": "feed_forward1",
    "feed_forward_after": "feed_forward2",
    "up": "ffw_layer_1",
    "down": "ffw_layer_2",
    "pre_norm": "pre_layer_norm",
    "post_norm": "post_layer_norm",
    "attention": "self_attn",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "out": "post",
    "relative_key": "relative_k_proj",
    "query_scale": "per_dim_scale",
    "convolution": "lconv1d",
    "start": "linear_start",
    "end": "linear_end",
    "depthwise": "depthwise_conv1d.weight",
    "middle_norm": "conv_norm",
    "attention_norm": "norm_pre_attn",
    "post_attention_norm": "norm_post_attn",
    "final_norm": "norm_out",
    "output": "output_proj",
    "to_text": "embedding_projection",
}


def encoder_weight_map(encoder: nn.Module, names: Mapping[str, str], prefix: str) -> dict[str, Pieces]:
    """Each of the encoder's parameters and buffers -> the one checkpoint tensor that it is."""
    return {
        name: (Piece(prefix + _translated(name, names), tuple(tensor.shape)),)
        for name, tensor in encoder.state_dict().items()
    }


def _translated(name: str, names: Mapping[str, str]) -> str:
    parts = [names.get(part, part) for part in name.split(".")]
    return ".".join(part for part in parts if part)
