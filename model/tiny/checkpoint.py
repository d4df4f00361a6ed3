"""Writes a tiny checkpoint folder, complete as Hugging Face would publish it, and keeps one in the user's cache."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock

from model.config import ModelConfig
from model.tiny.encoders import encoder_shapes
from model.tiny.family import TINY_VARIANTS
from model.tiny.random_weights import random_model, random_tensor
from model.tiny.tokenizer import build_tokenizer, tokenizer_config
from model.weights import save_checkpoint

# Part of the cache's path: raise it with any change to what is written.
FORMAT_VERSION = 5
_TEMPLATE = Path(__file__).parent.parent / "chat_template.jinja"


def write_tiny(variant: str, path: Path) -> None:
    """Writes one variant into the folder `path`, replacing what is there; the same bytes at every call.

    The folder appears complete or not at all. ValueError for an unknown variant.
    """
    config = _config(variant)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        written = Path(scratch) / "new"
        _write_files(variant, config, written)
        if path.exists():
            path.rename(Path(scratch) / "old")
        written.rename(path)


def ensure_tiny(variant: str, cache_dir: Path | None = None) -> Path:
    """The folder of one variant, written at the first call. Several processes may ask at once.

    `cache_dir` defaults to gemma-cluster/tiny in the user's cache ($XDG_CACHE_HOME, else ~/.cache).
    """
    _config(variant)
    root = (cache_dir or _user_cache()) / f"v{FORMAT_VERSION}"
    path = root / variant
    root.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(root / f"{variant}.lock"):
        if not path.exists():
            write_tiny(variant, path)
    return path


def _config(variant: str) -> ModelConfig:
    if variant not in TINY_VARIANTS:
        raise ValueError(f"unknown variant {variant!r}, expected one of {', '.join(TINY_VARIANTS)}")
    return TINY_VARIANTS[variant]


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gemma-cluster" / "tiny"


def _write_files(variant: str, config: ModelConfig, path: Path) -> None:
    encoders = {name: random_tensor(f"{variant}/{name}", shape) for name, shape in encoder_shapes(config).items()}
    save_checkpoint(random_model(variant, config), config, path, encoders)
    _write_json(path / "generation_config.json", _generation_config(config))
    build_tokenizer().save(str(path / "tokenizer.json"))
    _write_json(path / "tokenizer_config.json", tokenizer_config(config.text.max_position_embeddings))
    _write_json(path / "processor_config.json", _processor_config(config))
    shutil.copyfile(_TEMPLATE, path / "chat_template.jinja")
    for file in path.iterdir():  # some are written for their owner alone
        file.chmod(0o644)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _generation_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.eos_token_ids),
        "pad_token_id": config.text.pad_token_id,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 64,
        "top_p": 0.95,
    }


def _processor_config(config: ModelConfig) -> dict[str, Any]:
    """How media become patches, mel frames and soft tokens; the published numbers."""
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
    image = {"image_processor_type": "Gemma4ImageProcessor", "max_soft_tokens": 280}
    video = {"video_processor_type": "Gemma4VideoProcessor", "max_soft_tokens": 70, "num_frames": 32}
    content: dict[str, Any] = {
        "processor_class": "Gemma4Processor",
        "image_seq_length": 280,
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
