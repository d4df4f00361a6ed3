"""The configuration that transformers builds a pocket model from while it is trained."""

from typing import Any

from transformers import Gemma4Config

from model.config import ModelConfig


def hf_config(config: ModelConfig) -> Any:
    """In float32, without clipping: bounds come when the checkpoint is written."""
    hf = config.to_hf()
    towers = {
        kind: hf[kind] | {"use_clipped_linears": False} for kind in ("vision_config", "audio_config") if hf.get(kind)
    }
    return Gemma4Config.from_dict(hf | {"dtype": "float32"} | towers)
