"""Images to patches, as transformers' Gemma4ImageProcessorPil makes them of an RGB image.

Shapes: H and W pixels, P patches, C numbers in a patch.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from model.preprocess.container import MAX_DECODE_S
from model.preprocess.errors import UnusableMedia
from model.preprocess.timed_file import TimedFile
from model.soft_tokens import SoftTokenRules, resized
from model.vision.patches import Patches

# Named one by one: Pillow guesses among dozens of formats otherwise.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What a byte of a pixel becomes: multiplied in float64, rounded once.
_LEVELS = (np.arange(256) * (1 / 255)).astype(np.float32)


def image_patches(data: bytes, rules: SoftTokenRules) -> Patches:
    """The first frame of a PNG, JPEG, WebP or GIF, at most `rules.max_image_tokens` soft tokens of it.

    Raises UnusableMedia. The size of the image is not limited here: callers check it first.
    """
    return resized_patches(decode_image(data), rules)


def decode_image(data: bytes) -> Image.Image:
    """RGB and upright. An alpha channel is dropped, not blended: pixels keep the colour that they have beneath.

    Raises UnusableMedia.
    """
    try:
        with Image.open(TimedFile(data, MAX_DECODE_S), formats=_FORMATS) as image:
            image.load()
            # Else Pillow warns of palettes with transparency, which RGB has not.
            image.info.pop("transparency", None)
            transpose = _transpose(image)
            rgb = image.convert("RGB")
    except Exception as error:  # hostile bytes make Pillow raise nearly every kind of error
        raise UnusableMedia(f"the image cannot be decoded: {error}") from error
    return rgb if transpose is None else rgb.transpose(transpose)


def _transpose(image: Image.Image) -> Image.Transpose | None:
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # many tools write broken EXIF; the pixels were decoded well
        return None


def resized_patches(image: Image.Image, rules: SoftTokenRules) -> Patches:
    """An RGB image, resized to at most `rules.max_image_tokens` soft tokens."""
    bytes_PC, columns = byte_patches(image, rules)
    return Patches(torch.from_numpy(_LEVELS[bytes_PC])[None], columns)


def byte_patches(image: Image.Image, rules: SoftTokenRules) -> tuple[np.ndarray, int]:
    """The same as uint8 [P, C], a quarter of the memory, and how many patches a row has."""
    size = resized(image.width, image.height, rules.max_image_tokens, rules)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return _cut(np.asarray(image), rules.patch_size), size[0] // rules.patch_size


def _cut(pixels_HW3: np.ndarray, side: int) -> np.ndarray:
    """[H, W, 3] -> [P, C], patches in rows from the top left."""
    height, width, channels = pixels_HW3.shape
    grid = pixels_HW3.reshape(height // side, side, width // side, side, channels)
    return np.ascontiguousarray(grid.transpose(0, 2, 1, 3, 4)).reshape(-1, side * side * channels)
