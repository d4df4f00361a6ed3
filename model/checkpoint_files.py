"""The JSON files that stand beside the weights in a checkpoint folder that we make."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.config import ModelConfig


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Writes an object as the hub's files are written."""
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def generation_config(config: ModelConfig) -> dict[str, Any]:
    """generation_config.json: how answers end, and the published sampling."""
    return {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.eos_token_ids),
        "pad_token_id": config.text.pad_token_id,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 64,
        "top_p": 0.95,
    }


def processor_config(config: ModelConfig, max_soft_tokens: int = 280) -> dict[str, Any]:
    """processor_config.json: how media become patches, mel frames and soft tokens; all but the given as published."""
    assert config.vision is not None
    pixels = {
        "do_convert_rgb": True,
        "do_normalize": False,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
        "patch_size": config.vision.patch_size,
        "pooling_kernel_size": config.vision.pooling_kernel_size,
        "resample": 3,
        "rescale_factor": 1 / 255,
    }
    image = {"image_processor_type": "Gemma4ImageProcessor", "max_soft_tokens": max_soft_tokens}
    video = {"video_processor_type": "Gemma4VideoProcessor", "max_soft_tokens": 70, "num_frames": 32}
    content: dict[str, Any] = {
        "processor_class": "Gemma4Processor",
        "image_seq_length": max_soft_tokens,
        "audio_seq_length": 750,
        "audio_ms_per_token": 40,
        "image_processor": pixels | image,
        "video_processor": pixels | video | {"do_normalize": True, "do_sample_frames": True},
    }
    return content | ({} if config.audio is None else {"feature_extractor": _feature_extractor()})


def _feature_extractor() -> dict[str, Any]:
    return {
        "feature_extractor_type": "Gemma4AudioFeatureExtractor",
        "feature_size": 128,
        "sampling_rate": 16_000,
        "frame_length": 320,
        "hop_length": 160,
        "fft_length": 512,
        "fft_overdrive": False,
        "min_frequency": 0.0,
        "max_frequency": 8000.0,
        "mel_floor": 0.001,
        "preemphasis": 0.0,
        "preemphasis_htk_flavor": True,
        "input_scale_factor": 1.0,
        "dither": 0.0,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
    }
