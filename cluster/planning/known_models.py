"""The shape and the storage of a checkpoint, as far as they are known before anything is downloaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cluster.planning.quantization import FLOAT32, NATIVE_QUANTIZATIONS, VLLM_QUANTIZATIONS, Quantization
from model.checkpoint import CheckpointError, read_json
from model.config import ModelConfig
from model.quantization.scheme import StoredQuantization
from model.variants import VARIANTS

_PUBLISHED = re.compile(r"google/gemma-4-(?P<size>E2B|E4B|26B-A4B|31B)(-it)?(?P<qat>-qat-w4a16-ct)?")
_SCALE_BITS = 0.5
_BF16 = NATIVE_QUANTIZATIONS["bf16"]


def known_model(checkpoint: str) -> tuple[ModelConfig, Quantization] | None:
    """The model and how it is stored: of a folder, or a published repository. None for others, and for tiny ones."""
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        return _of_folder(folder)
    published = _PUBLISHED.fullmatch(checkpoint)
    if published is None:
        return None
    stored = VLLM_QUANTIZATIONS["w4a16"] if published["qat"] else _BF16
    return VARIANTS[published["size"].lower()], stored


def _of_folder(folder: Path) -> tuple[ModelConfig, Quantization] | None:
    """None if the folder cannot be read: whoever loads it says why."""
    try:
        config = ModelConfig.from_checkpoint(folder)
        return config, _stored(folder, config)
    except CheckpointError:
        return None


def _stored(folder: Path, config: ModelConfig) -> Quantization:
    ours = StoredQuantization.of_checkpoint(folder)
    theirs = read_json(folder / "config.json").get("quantization_config")
    bits = ours.scheme.bits if ours is not None else None if theirs is None else _bits(theirs)
    if bits is None:
        return FLOAT32 if config.dtype == "float32" else _BF16
    stored = bits + (_SCALE_BITS if bits < 8 else 0)
    return Quantization(f"{bits}-bit", stored, stored)


def _bits(quantization: Any) -> int | None:
    """Of a Hugging Face `quantization_config`: compressed-tensors' groups, or a method that says it by its name."""
    found = re.search(r"'(?:num_bits|bits|w_bit)': (\d+)", str(quantization))
    if found:
        return int(found[1])
    return 8 if "fp8" in str(quantization) else None
