"""Real media files made in memory: what the tests of media, codec and prompt feed in."""

from __future__ import annotations

import io
import wave
from functools import cache
from typing import Any

import av
import numpy as np
from PIL import Image


@cache
def image(kind: str, width: int = 64, height: int = 48, mode: str = "RGB", **options: Any) -> bytes:
    """A still image; kind is PNG, JPEG, WEBP or GIF."""
    ramp = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(ramp).convert("I" if mode == "I;16" else "RGB").convert(mode).save(file, kind, **options)
    return file.getvalue()


@cache
def animation(kind: str, frames: int = 3) -> bytes:
    """A moving GIF, WEBP or PNG."""
    stills = [Image.new("RGB", (40, 30), (80 * i, 0, 0)) for i in range(frames)]
    file = io.BytesIO()
    stills[0].save(file, kind, save_all=True, append_images=stills[1:])
    return file.getvalue()


@cache
def wav(seconds: float = 0.5, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    """Silence, 16 bit."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes(b"\0" * (2 * channels * round(seconds * rate_hz)))
    return file.getvalue()


@cache
def sound(container: str, codec: str, seconds: float = 1.0, rate_hz: int = 48_000, layout: str = "stereo") -> bytes:
    """Quiet noise through a real encoder."""
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    noise = np.random.default_rng(0).integers(-500, 500, round(seconds * rate_hz) * channels, np.int16)
    frame = av.AudioFrame.from_ndarray(noise[None], format="s16", layout=layout)
    frame.sample_rate, frame.pts = rate_hz, 0
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate_hz, layout=layout)
        for item in (frame, None):
            output.mux(stream.encode(item))
    return file.getvalue()


def flac(seconds: float = 1.0, **options: Any) -> bytes:
    """A FLAC file."""
    return sound("flac", "flac", seconds, **options)


def mp3(seconds: float = 1.0, **options: Any) -> bytes:
    """An MP3 file."""
    return sound("mp3", "libmp3lame", seconds, **options)


def ogg(seconds: float = 1.0, **options: Any) -> bytes:
    """Opus in Ogg."""
    return sound("ogg", "libopus", seconds, **options)


@cache
def video(
    container: str,
    codec: str,
    frames: int = 50,
    rate: int = 25,
    size: tuple[int, int] = (64, 48),
    movflags: str = "",
) -> bytes:
    """Frames that grow brighter."""
    width, height = size
    file = io.BytesIO()
    options = {"movflags": movflags} if movflags else {}
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            pixels = np.full((height, width, 3), 5 * i % 256, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())
    return file.getvalue()


def mp4(frames: int = 50, **options: Any) -> bytes:
    """H.264 in MP4."""
    return video("mp4", "libx264", frames, **options)


def webm(frames: int = 50, **options: Any) -> bytes:
    """VP9 in WebM."""
    return video("webm", "libvpx-vp9", frames, **options)


SAMPLES: dict[str, bytes] = {
    "image/png": image("PNG"),
    "image/jpeg": image("JPEG"),
    "image/webp": image("WEBP"),
    "image/gif": image("GIF"),
    "audio/wav": wav(),
    "audio/flac": flac(),
    "audio/mpeg": mp3(),
    "audio/ogg": ogg(),
    "video/mp4": mp4(),
    "video/webm": webm(),
}
