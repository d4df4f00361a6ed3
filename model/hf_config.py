"""Translates between a Hugging Face Gemma 4 config.json and our ModelConfig.

Both spellings of per-layer heads are read: `global_head_dim` and `num_global_key_value_heads` (published
checkpoints), and `per_layer_config` (transformers from 5.15 on). Absent keys take transformers' defaults.
"""

from __future__ import annotations

from typing import Any

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

_KINDS = {"sliding_attention": LayerKind.LOCAL, "full_attention": LayerKind.GLOBAL}
_KIND_NAMES = {kind: name for name, kind in _KINDS.items()}
_ACTIVATION = "gelu_pytorch_tanh"
_DEFAULT_ROPE: dict[str, dict[str, Any]] = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
}
# Our field -> (their key, their default).
_TEXT = {
    "vocab_size": ("vocab_size", 262144),
    "hidden_size": ("hidden_size", 2304),
    "mlp_size": ("intermediate_size", 9216),
    "num_heads": ("num_attention_heads", 8),
    "sliding_window": ("sliding_window", 512),
    "max_position_embeddings": ("max_position_embeddings", 131072),
    "num_kv_shared_layers": ("num_kv_shared_layers", 0),
    "has_double_wide_shared_mlp": ("use_double_wide_mlp", False),
    "per_layer_size": ("hidden_size_per_layer_input", 256),
    "per_layer_vocab_size": ("vocab_size_per_layer_input", 262144),
    "final_logit_softcap": ("final_logit_softcapping", None),
    "rms_norm_eps": ("rms_norm_eps", 1e-6),
    "has_attention_bias": ("attention_bias", False),
    "pad_token_id": ("pad_token_id", 0),
}
_VISION = {
    "hidden_size": ("hidden_size", 768),
    "mlp_size": ("intermediate_size", 3072),
    "num_layers": ("num_hidden_layers", 16),
    "num_heads": ("num_attention_heads", 12),
    "num_kv_heads": ("num_key_value_heads", 12),
    "head_dim": ("head_dim", 64),
    "patch_size": ("patch_size", 16),
    "pooling_kernel_size": ("pooling_kernel_size", 3),
    "position_table_size": ("position_embedding_size", 10240),
    "rms_norm_eps": ("rms_norm_eps", 1e-6),
    "has_clipped_linears": ("use_clipped_linears", False),
    "has_standardized_output": ("standardize", False),
    "default_output_length": ("default_output_length", 280),
}
_AUDIO = {
    "hidden_size": ("hidden_size", 1024),
    "num_layers": ("num_hidden_layers", 12),
    "num_heads": ("num_attention_heads", 8),
    "conv_kernel_size": ("conv_kernel_size", 5),
    "residual_weight": ("residual_weight", 0.5),
    "chunk_size": ("attention_chunk_size", 12),
    "context_left": ("attention_context_left", 13),
    "context_right": ("attention_context_right", 0),
    "logit_cap": ("attention_logit_cap", 50.0),
    "gradient_clipping": ("gradient_clipping", 1e10),
    "invalid_logit": ("attention_invalid_logits_value", -1e9),
    "rms_norm_eps": ("rms_norm_eps", 1e-6),
    "has_clipped_linears": ("use_clipped_linears", True),
    "output_size": ("output_proj_dims", 1536),
}
_TOKEN_IDS = {
    "image_token_id": ("image_token_id", 258880),
    "image_start_token_id": ("boi_token_id", 255999),
    "image_end_token_id": ("eoi_token_id", 258882),
    "audio_token_id": ("audio_token_id", 258881),
    "audio_start_token_id": ("boa_token_id", 256000),
    "audio_end_token_id": ("eoa_token_index", 258883),
    "video_token_id": ("video_token_id", 258884),
}


def model_config(config: dict[str, Any], generation: dict[str, Any] | None = None) -> ModelConfig:
    """The whole config: multimodal (`gemma4`) or text only (`gemma4_text`). ValueError if it is neither."""
    try:
        return _model_config(config, generation or {})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"malformed Gemma 4 config: {type(error).__name__}: {error}") from error


def _model_config(config: dict[str, Any], generation: dict[str, Any]) -> ModelConfig:
    model_type = config.get("model_type")
    if model_type == "gemma4_text":
        return ModelConfig(text=_text(config, config), **_shared(config, config, generation))
    if model_type != "gemma4":
        raise ValueError(f"model_type is {model_type!r}, expected 'gemma4' or 'gemma4_text'")
    text = config.get("text_config") or {}
    vision, audio = config.get("vision_config"), config.get("audio_config")
    return ModelConfig(
        text=_text(text, config),
        vision=None if vision is None else _vision(vision),
        audio=None if audio is None else _audio(audio),
        **_from_hf(_TOKEN_IDS, config),
        **_shared(text, config, generation),
    )


def _shared(text: dict[str, Any], config: dict[str, Any], generation: dict[str, Any]) -> dict[str, Any]:
    eos = generation.get("eos_token_id", config.get("eos_token_id", text.get("eos_token_id", 1)))
    dtype = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    return {
        "bos_token_id": text.get("bos_token_id", config.get("bos_token_id", 2)),
        "eos_token_ids": () if eos is None else tuple(eos) if isinstance(eos, list) else (eos,),
        "dtype": dtype or "bfloat16",
    }


def _from_hf(names: dict[str, tuple[str, Any]], values: dict[str, Any]) -> dict[str, Any]:
    return {ours: values.get(theirs, default) for ours, (theirs, default) in names.items()}


def _to_hf(names: dict[str, tuple[str, Any]], config: object) -> dict[str, Any]:
    return {theirs: getattr(config, ours) for ours, (theirs, _default) in names.items()}


def _text(text: dict[str, Any], config: dict[str, Any]) -> TextConfig:
    _reject_unsupported(text)
    kinds = _layer_kinds(text)
    return TextConfig(
        layer_kinds=kinds,
        local=_attention(text, kinds, "sliding_attention"),
        global_=_attention(text, kinds, "full_attention"),
        moe=_moe(text),
        has_tied_embeddings=config.get("tie_word_embeddings", text.get("tie_word_embeddings", True)),
        has_bidirectional_images=text.get("use_bidirectional_attention") == "vision",
        **_from_hf(_TEXT, text),
    )


def _reject_unsupported(text: dict[str, Any]) -> None:
    activation = text.get("hidden_activation", _ACTIVATION)
    if activation != _ACTIVATION:
        raise ValueError(f"hidden_activation {activation!r} is not supported, only {_ACTIVATION!r}")
    if text.get("use_bidirectional_attention") == "all":
        raise ValueError("use_bidirectional_attention 'all' is not supported: this decoder is causal")


def _layer_kinds(text: dict[str, Any]) -> tuple[LayerKind, ...]:
    num_layers = text.get("num_hidden_layers", 30)
    names = text.get("layer_types")
    if names is None:
        names = ["sliding_attention" if (i + 1) % 6 else "full_attention" for i in range(num_layers)]
    if len(names) != num_layers:
        raise ValueError(f"layer_types names {len(names)} layers, num_hidden_layers is {num_layers}")
    if unknown := set(names) - set(_KINDS):
        raise ValueError(f"unknown layer_types {sorted(unknown)}")
    # The reference turns the last layer global whatever the config says.
    return (*(_KINDS[name] for name in names[:-1]), LayerKind.GLOBAL)


def _attention(text: dict[str, Any], kinds: tuple[LayerKind, ...], name: str) -> AttentionShape:
    is_global = _KINDS[name] is LayerKind.GLOBAL
    k_is_v = is_global and text.get("attention_k_eq_v", False)
    head_dim, num_kv_heads = text.get("head_dim", 256), text.get("num_key_value_heads", 4)
    if "per_layer_config" in text:
        overrides = _overrides(text, kinds, _KINDS[name])
        head_dim = overrides.get("head_dim", head_dim)
        num_kv_heads = overrides.get("num_key_value_heads", num_kv_heads)
    elif is_global:
        head_dim = text.get("global_head_dim", 512)
        # Without K = V the reference leaves the number of heads alone, whatever the config says.
        num_kv_heads = (k_is_v and text.get("num_global_key_value_heads")) or num_kv_heads
    return AttentionShape(head_dim, num_kv_heads, _rope(text, name), k_is_v)


def _overrides(text: dict[str, Any], kinds: tuple[LayerKind, ...], kind: LayerKind) -> dict[str, Any]:
    """The per-layer overrides of the layers of one kind, which must all be the same."""
    per_layer = {int(index): values for index, values in (text["per_layer_config"] or {}).items()}
    found = [per_layer.get(index, {}) for index, k in enumerate(kinds) if k is kind]
    if any(values != found[0] for values in found):
        raise ValueError(f"per_layer_config differs between {kind} layers")
    overrides: dict[str, Any] = found[0] if found else {}
    if unknown := set(overrides) - {"head_dim", "num_key_value_heads"}:
        raise ValueError(f"per_layer_config overrides {sorted(unknown)}, which is not supported")
    return overrides


def _rope(text: dict[str, Any], name: str) -> Rope:
    values = (text.get("rope_parameters") or _DEFAULT_ROPE).get(name) or _DEFAULT_ROPE[name]
    rope_type = values.get("rope_type", "default")
    if rope_type == "default":
        return Rope(values.get("rope_theta", 1e4))
    if rope_type == "proportional":
        fraction, factor = values.get("partial_rotary_factor", 1.0), values.get("factor", 1.0)
        return Rope(values.get("rope_theta", 1e4), fraction, factor)
    raise ValueError(f"rope_type {rope_type!r} is not supported")


def _moe(text: dict[str, Any]) -> MoeConfig | None:
    if not text.get("enable_moe_block", False):
        return None
    return MoeConfig(text["num_experts"], text["top_k_experts"], text["moe_intermediate_size"])


def _vision(vision: dict[str, Any]) -> VisionConfig:
    theta = (vision.get("rope_parameters") or {}).get("rope_theta", 100.0)
    return VisionConfig(rope_theta=theta, **_from_hf(_VISION, vision))


def _audio(audio: dict[str, Any]) -> AudioConfig:
    first, second = audio.get("subsampling_conv_channels", (128, 32))
    return AudioConfig(conv_channels=(first, second), **_from_hf(_AUDIO, audio))


def hf_config(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `model_config`: a config.json's content, in the spelling of published checkpoints."""
    ids = {"bos_token_id": config.bos_token_id, "eos_token_id": list(config.eos_token_ids)}
    text = {"model_type": "gemma4_text"} | _hf_text(config.text) | ids
    if config.modalities == {"text"}:
        return {"architectures": ["Gemma4ForCausalLM"], "dtype": config.dtype} | text
    return {
        "architectures": ["Gemma4ForConditionalGeneration"],
        "model_type": "gemma4",
        "dtype": config.dtype,
        "text_config": text,
        "vision_config": None if config.vision is None else _hf_vision(config.vision),
        "audio_config": None if config.audio is None else _hf_audio(config.audio),
        "tie_word_embeddings": config.text.has_tied_embeddings,
        "eos_token_id": list(config.eos_token_ids),
        **_to_hf(_TOKEN_IDS, config),
    }


def _hf_text(text: TextConfig) -> dict[str, Any]:
    moe = text.moe
    if not text.global_.k_is_v and text.global_.num_kv_heads != text.local.num_kv_heads:
        raise ValueError("a config.json cannot give global layers their own num_key_value_heads without K = V")
    return _to_hf(_TEXT, text) | {
        "num_hidden_layers": text.num_layers,
        "layer_types": [_KIND_NAMES[kind] for kind in text.layer_kinds],
        "head_dim": text.local.head_dim,
        "num_key_value_heads": text.local.num_kv_heads,
        "global_head_dim": text.global_.head_dim,
        "num_global_key_value_heads": text.global_.num_kv_heads if text.global_.k_is_v else None,
        "attention_k_eq_v": text.global_.k_is_v,
        "rope_parameters": {name: _hf_rope(text.attention(kind).rope) for name, kind in _KINDS.items()},
        "hidden_activation": _ACTIVATION,
        "tie_word_embeddings": text.has_tied_embeddings,
        "use_bidirectional_attention": "vision" if text.has_bidirectional_images else None,
        "enable_moe_block": moe is not None,
        "num_experts": moe.num_experts if moe else None,
        "top_k_experts": moe.top_k if moe else None,
        "moe_intermediate_size": moe.expert_size if moe else None,
    }


def _hf_rope(rope: Rope) -> dict[str, Any]:
    if rope.rotated_fraction == 1.0 and rope.factor == 1.0:
        return {"rope_type": "default", "rope_theta": rope.theta}
    factor = {} if rope.factor == 1.0 else {"factor": rope.factor}
    fraction = {"partial_rotary_factor": rope.rotated_fraction}
    return {"rope_type": "proportional", "rope_theta": rope.theta} | fraction | factor


def _hf_vision(vision: VisionConfig) -> dict[str, Any]:
    rope = {"rope_type": "axial", "rope_theta": vision.rope_theta}
    return {"model_type": "gemma4_vision", "rope_parameters": rope} | _to_hf(_VISION, vision)


def _hf_audio(audio: AudioConfig) -> dict[str, Any]:
    channels = {"subsampling_conv_channels": list(audio.conv_channels)}
    return {"model_type": "gemma4_audio"} | channels | _to_hf(_AUDIO, audio)
