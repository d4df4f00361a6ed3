"""Our vision tower against transformers: the same patches give the same soft tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.multimodal import load_multimodal
from model.vision.patches import Patches
from tests.model.conftest import VARIANT_NAMES
from tests.model.media_checkpoint import MakeMediaCheckpoint, reference, worst_row_error

TOLERANCE = 1e-4
# Columns and rows of patches.
GRIDS = [(3, 3), (12, 6), (3, 27), (30, 3), (9, 15)]


def patches(seed: int, columns: int, rows: int, images: int = 1) -> Patches:
    generator = torch.Generator().manual_seed(seed)
    return Patches(torch.rand(images, columns * rows, 768, generator=generator), columns)


def theirs(path: Path, images: list[Patches], dtype: torch.dtype = torch.float32) -> Tensor:
    """Transformers' soft tokens of all images, encoded as one batch, padded to the largest."""
    longest = max(image.values_BPC.shape[1] for image in images)
    pixels, positions = [], []
    for image in images:
        missing = longest - image.values_BPC.shape[1]
        pixels.append(torch.nn.functional.pad(image.values_BPC[0], (0, 0, 0, missing)))
        positions.append(torch.nn.functional.pad(image.positions_P2, (0, 0, 0, missing), value=-1))
    with torch.inference_mode():
        features = reference(path, dtype).model.get_image_features(torch.stack(pixels), torch.stack(positions))
    return torch.cat(features.pooler_output)


def ours(path: Path, images: list[Patches], dtype: torch.dtype = torch.float32) -> Tensor:
    """Our soft tokens, each image encoded by itself."""
    encoders = load_multimodal(path, dtype=dtype).encoders
    with torch.inference_mode():
        return torch.cat([encoders.encode_vision(image) for image in images])


@pytest.mark.parametrize("variant", VARIANT_NAMES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_images_of_odd_shapes_give_the_soft_tokens_of_the_reference(
    make_media_checkpoint: MakeMediaCheckpoint, variant: str, seed: int
) -> None:
    path = make_media_checkpoint(variant, seed)
    images = [patches(seed + i, *grid) for i, grid in enumerate(GRIDS)]
    assert worst_row_error(ours(path, images), theirs(path, images)) < TOLERANCE


@pytest.mark.parametrize(
    ("variant", "vision"),
    [
        ("e2b", {"standardize": True}),
        ("31b", {"use_clipped_linears": True}),
        ("31b", {"num_key_value_heads": 1}),
        ("e2b", {"rms_norm_eps": 1e-2}),
        ("31b", {"rope_parameters": {"rope_type": "axial", "rope_theta": 7.0}}),
        ("e2b", {"pooling_kernel_size": 2}),
    ],
)
def test_every_config_switch_means_what_it_means_to_the_reference(
    make_media_checkpoint: MakeMediaCheckpoint, variant: str, vision: dict[str, Any]
) -> None:
    path, images = make_media_checkpoint(variant, 3, vision=vision), [patches(3, 12, 6), patches(4, 6, 6)]
    assert worst_row_error(ours(path, images), theirs(path, images)) < TOLERANCE


def test_clipping_bounds_change_what_comes_out(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    path, image = make_media_checkpoint("e2b", 0), patches(0, 6, 6)
    encoders = load_multimodal(path).encoders
    clipped = encoders.encode_vision(image)
    for name, bound in encoders.vision.named_buffers():
        bound.fill_(-torch.inf if name.endswith("min") else torch.inf)
    assert worst_row_error(encoders.encode_vision(image), clipped) > 0.1


@pytest.mark.parametrize("variant", ["e2b", "31b"])
def test_soft_tokens_in_bfloat16_are_as_near_to_float32_as_the_reference_s(
    make_media_checkpoint: MakeMediaCheckpoint, variant: str
) -> None:
    path, images = make_media_checkpoint(variant, 0), [patches(0, 12, 6), patches(1, 3, 27)]
    exact = theirs(path, images)
    our_error = (ours(path, images, torch.bfloat16) - exact).norm() / exact.norm()
    their_error = (theirs(path, images, torch.bfloat16) - exact).norm() / exact.norm()
    assert our_error < 1.5 * their_error + 0.01


def test_an_image_longer_than_the_position_table_is_refused(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    encoders = load_multimodal(make_media_checkpoint("e2b", 0)).encoders
    with pytest.raises(ValueError, match="1002 patches in a row or column"):
        encoders.encode_vision(patches(0, 1002, 3))


def test_frames_encoded_together_equal_frames_encoded_one_by_one(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    encoders = load_multimodal(make_media_checkpoint("31b", 0)).encoders
    frames = patches(5, 6, 9, images=4)
    one_by_one = [encoders.encode_vision(Patches(frame[None], frames.columns)) for frame in frames.values_BPC]
    assert worst_row_error(encoders.encode_vision(frames), torch.cat(one_by_one)) < 1e-5
