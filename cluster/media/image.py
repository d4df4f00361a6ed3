"""Still images: size from the header first, then a full decode of the first frame with Pillow."""

from __future__ import annotations

import warnings

from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from cluster.media.errors import DecodeTimeout, MediaError, undecodable
from cluster.media.kinds import Kind
from cluster.media.limits import MediaLimits
from model.preprocess.errors import TookTooLong
from model.preprocess.timed_file import TimedFile

# Pillow warns of oddities that callers sent; what matters to them they get as an error.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Named one by one: Pillow guesses among dozens of formats otherwise.
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}
_ORIENTATION_TAG = 0x0112
_SIDEWAYS = (5, 6, 7, 8)


def measure_image(data: bytes, kind: Kind, limits: MediaLimits) -> tuple[int, int]:
    """(width, height) in pixels as seen, with the EXIF orientation applied. Raises MediaError."""
    try:
        return _measure(data, kind, limits)
    except MediaError:
        raise
    except TookTooLong as error:
        raise DecodeTimeout(str(error)) from error
    except Exception as error:  # hostile bytes make Pillow raise nearly every kind of error
        raise undecodable(kind.label, error) from error


def _measure(data: bytes, kind: Kind, limits: MediaLimits) -> tuple[int, int]:
    if kind.reader == "WEBP":
        # The decoder takes memory for the whole canvas when it opens a file.
        _check_pixels(*_webp_canvas(data), limits)
    if kind.reader == "JPEG":
        _check_scans(data, limits)
    with _READERS[kind.reader](TimedFile(data, limits.max_decode_s)) as image:
        width, height = image.size
        _check_pixels(width, height, limits)
        # A JPEG at an eighth of its size takes all its data through the decoder, and a 64th of the memory.
        image.draft(None, (max(1, width // 8), max(1, height // 8)))
        image.load()
        return (height, width) if _is_sideways(image) else (width, height)


def _is_sideways(image: ImageFile.ImageFile) -> bool:
    try:
        return image.getexif().get(_ORIENTATION_TAG) in _SIDEWAYS
    except Exception:  # many tools write broken EXIF; the pixels were decoded well
        return False


def _check_pixels(width: int, height: int, limits: MediaLimits) -> None:
    if max(width, height) > limits.max_image_side:
        side = limits.max_image_side
        raise MediaError(f"the image has {width}x{height} pixels; at most {side:,} are taken along a side")
    if width * height > limits.max_image_pixels:
        most = limits.max_image_pixels / 1e6
        raise MediaError(f"the image has {width}x{height} pixels; at most {most:g} megapixels are taken")


def _check_scans(data: bytes, limits: MediaLimits) -> None:
    # Entropy-coded data never hold this marker, so counting it counts scans.
    scans = data.count(b"\xff\xda")
    if scans > limits.max_jpeg_scans:
        raise MediaError(f"the JPEG image has {scans} scans; at most {limits.max_jpeg_scans} are taken")


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """(width, height) from the first chunk: extended, lossless or lossy. Short data read as zeros."""
    chunk, body = data[12:16], data[20:30].ljust(10, b"\0")
    if chunk == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
