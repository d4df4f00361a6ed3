"""Image files become the very patches that transformers' Gemma4ImageProcessorPil makes of them."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_utils import load_image
from transformers.models.gemma4.image_processing_pil_gemma4 import _SUPPORTED_SOFT_TOKENS, Gemma4ImageProcessorPil

from model.preprocess.errors import UnusableMedia
from model.preprocess.images import decode_image, image_patches
from model.soft_tokens import RESOLUTIONS, SoftTokenRules, image_soft_tokens

RULES = SoftTokenRules()
ORIENTATION = 0x0112


def photo(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth colours and noise."""
    generator = np.random.default_rng(seed)
    waves = np.sin(np.linspace(0, 9, width)[None, :, None] + np.linspace(0, 7, height)[:, None, None] * [1, 2, 3])
    pixels = np.clip(120 * waves + 128 + generator.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def assert_equal_to_reference(data: bytes, max_soft_tokens: int = 280) -> None:
    # As transformers loads a file: upright, then RGB.
    image = load_image(Image.open(io.BytesIO(data)))
    expected = Gemma4ImageProcessorPil()(image, max_soft_tokens=max_soft_tokens, return_tensors="pt")
    patches = image_patches(data, replace(RULES, max_image_tokens=max_soft_tokens))
    count = patches.values_BPC.shape[1]
    assert count == 9 * expected["num_soft_tokens_per_image"][0]
    assert torch.equal(patches.values_BPC, expected["pixel_values"][:, :count])
    assert torch.equal(patches.positions_P2, expected["image_position_ids"][0, :count])


@pytest.mark.parametrize(
    "size",
    [(1, 1), (64, 48), (48, 48), (640, 480), (333, 177), (7, 900), (900, 2), (1000, 999), (17, 4000), (768, 720)],
)
def test_images_of_any_shape_have_the_patches_of_the_reference(size: tuple[int, int]) -> None:
    assert_equal_to_reference(encoded(photo(*size), "PNG"))


@pytest.mark.parametrize("tokens", RESOLUTIONS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_number_of_soft_tokens_gives_the_patches_of_the_reference(tokens: int, seed: int) -> None:
    for size in [(500, 411), (1, 1), (1500, 3), (47, 333)]:
        assert_equal_to_reference(encoded(photo(*size, seed=seed), "PNG"), tokens)


def test_the_resolutions_are_those_of_the_reference() -> None:
    assert RESOLUTIONS == _SUPPORTED_SOFT_TOKENS


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGBA", {}),
        ("PNG", "LA", {}),
        ("PNG", "L", {}),
        ("PNG", "1", {}),
        ("PNG", "P", {}),
        ("PNG", "P", {"transparency": bytes(range(256))}),
        ("PNG", "P", {"transparency": 3}),
        ("PNG", "RGB", {"transparency": (10, 20, 30)}),
        ("PNG", "I;16", {}),
        ("JPEG", "RGB", {"quality": 60}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("GIF", "P", {}),
        ("GIF", "P", {"transparency": 0}),
    ],
)
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # from the reference alone
def test_every_kind_of_pixel_becomes_rgb_as_in_the_reference(kind: str, mode: str, options: dict[str, Any]) -> None:
    image = photo(90, 70, "I").convert("I;16") if mode == "I;16" else photo(90, 70, mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    assert_equal_to_reference(encoded(image, kind, **options))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_taken_sideways_is_turned_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(photo(120, 50), kind, exif=exif.tobytes())
    assert_equal_to_reference(data)
    assert decode_image(data).size == ((50, 120) if orientation > 4 else (120, 50))


def test_a_moving_image_is_seen_by_its_first_frame() -> None:
    frames = [photo(60, 40, seed=seed) for seed in range(3)]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert_equal_to_reference(data)


def test_an_image_with_broken_exif_is_seen_as_stored() -> None:
    data = encoded(photo(120, 50), "JPEG", exif=b"Exif\0\0broken")
    assert decode_image(data).size == (120, 50)


def test_patches_are_as_many_as_soft_tokens_were_counted() -> None:
    for width, height in [(200, 100), (5, 77), (1024, 768)]:
        patches = image_patches(encoded(photo(width, height), "PNG"), RULES)
        assert patches.values_BPC.shape == (1, 9 * image_soft_tokens(width, height, RULES), 768)
        assert 0 <= patches.values_BPC.min() <= patches.values_BPC.max() <= 1


@pytest.mark.parametrize("data", [b"", b"no image", encoded(photo(50, 40), "PNG")[:200], encoded(photo(9, 9), "BMP")])
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    with pytest.raises(UnusableMedia, match="image cannot be decoded"):
        image_patches(data, RULES)
