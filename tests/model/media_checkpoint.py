"""Random multimodal checkpoints written by transformers, every stored number random, and the reference's answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.gemma4.configuration_gemma4 import Gemma4AudioConfig, Gemma4Config, Gemma4VisionConfig
from transformers.models.gemma4.modeling_gemma4 import Gemma4ForConditionalGeneration

from tests.model.conftest import randomize, text_config

MakeMediaCheckpoint = Callable[..., Path]

IMAGE_ID, VIDEO_ID, AUDIO_ID = 290, 291, 292
# E2B and E4B share one kind of vision tower, 26B and 31B the other.
SMALL_TOWER = {"hidden_size": 32, "head_dim": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
LARGE_TOWER = {"hidden_size": 40, "head_dim": 24, "num_attention_heads": 2, "num_key_value_heads": 2}
_VISION = {"intermediate_size": 56, "num_hidden_layers": 2, "position_embedding_size": 1000}
_AUDIO: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "subsampling_conv_channels": [128, 8],
    "output_proj_dims": 48,
}


def media_config(variant: str, vision: dict[str, Any], audio: dict[str, Any], text: dict[str, Any]) -> Gemma4Config:
    """A toy config with the structure of `variant`; the three dicts override parts of it."""
    hears = variant in ("e2b", "e4b")
    switches = {"use_clipped_linears": hears, "standardize": not hears}
    tower = SMALL_TOWER if hears else LARGE_TOWER
    return Gemma4Config(
        text_config=text_config(variant, **text),
        vision_config=Gemma4VisionConfig(**(_VISION | tower | switches | vision)),
        audio_config=Gemma4AudioConfig(**(_AUDIO | audio)) if hears else None,
        image_token_id=IMAGE_ID,
        video_token_id=VIDEO_ID,
        audio_token_id=AUDIO_ID,
    )


def randomize_bounds(model: torch.nn.Module, seed: int) -> None:
    """Clipping bounds within what activations reach, so that they bite."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(model.state_dict().items()):
        if name.endswith(("_min", "_max")):
            sign = -1 if name.endswith("_min") else 1
            tensor.fill_(sign * torch.empty(()).uniform_(0.7, 1.7, generator=generator).item())


def media_model(
    variant: str,
    seed: int,
    vision: dict[str, Any] | None = None,
    audio: dict[str, Any] | None = None,
    **text: Any,
) -> Any:
    """A random reference model in float32."""
    model = Gemma4ForConditionalGeneration(media_config(variant, vision or {}, audio or {}, text))
    randomize(model, seed)
    randomize_bounds(model, seed)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def make_media_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeMediaCheckpoint:
    """`make_media_checkpoint(variant, seed, vision={}, audio={}, **text) -> Path`, written once per session."""
    made: dict[str, Path] = {}

    def make(variant: str, seed: int, **options: Any) -> Path:
        key = repr((variant, seed, sorted(options.items())))
        if key not in made:
            made[key] = tmp_path_factory.mktemp(f"{variant}-media-{seed}")
            media_model(variant, seed, **options).save_pretrained(made[key])
        return made[key]

    return make


@lru_cache(maxsize=4)
def reference(path: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Transformers' model of a checkpoint. Not eager: its audio mask comes out inverted there."""
    model = Gemma4ForConditionalGeneration.from_pretrained(path, dtype=dtype, experts_implementation="eager")
    return model.eval().requires_grad_(False)


def worst_row_error(actual: Tensor, expected: Tensor) -> float:
    """The largest error of any row, relative to the row's largest number."""
    assert actual.shape == expected.shape
    per_row = (actual - expected).abs().amax(-1) / expected.abs().amax(-1)
    return per_row.max().item()
