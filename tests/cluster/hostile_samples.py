"""Media files made to hurt: bombs, lies in headers, and odd but honest files, all small."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from tests.cluster.media_samples import image, mp4, sound, video

TONE = np.sin(np.arange(8000) / 6) / 2
_PCM, _FLOAT = 1, 3


def wav_of(samples: np.ndarray, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    """A WAV file of samples as they are: uint8, int16, int32, float32, float64; a "V3" array is 24 bit."""
    width = samples.dtype.itemsize
    kind = _FLOAT if samples.dtype.kind == "f" else _PCM
    bytes_per_s = rate_hz * channels * width & 0xFFFF_FFFF
    head = struct.pack("<HHIIHH", kind, channels, rate_hz, bytes_per_s, channels * width, 8 * width)
    raw = samples.tobytes()
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(raw)) + raw
    return b"RIFF" + struct.pack("<I", len(body)) + body


def wav_24_bit() -> bytes:
    """The three upper bytes of 32-bit samples."""
    wide = (TONE * 2**31).astype("<i4")
    return wav_of(np.ascontiguousarray(wide.view(np.uint8).reshape(-1, 4)[:, 1:]).view("V3").ravel())


def wav_with(value: float) -> bytes:
    """A float WAV with one odd sample."""
    samples = TONE.astype("<f4")
    samples[100] = value
    return wav_of(samples)


def gif_of_frames(count: int) -> bytes:
    """The same frame again and again."""
    data = image("GIF", 8, 8)
    start = data.index(b",")
    return data[:start] + data[start:-1] * count + b";"


def blank(kind: str, width: int, height: int, mode: str = "L", **options: Any) -> bytes:
    """A still image of one colour: large, and a small file."""
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, kind, **options)
    return file.getvalue()


@cache
def flac_of_an_hour() -> bytes:
    """The header says an hour; the sound lasts a second."""
    data = bytearray(sound("flac", "flac", 1.0, 8000, "mono"))
    # STREAMINFO ends its first word with 36 bits of the number of samples (RFC 9639, 8.2).
    data[21] &= 0xF0
    data[22:26] = (3600 * 8000).to_bytes(4, "big")
    return bytes(data)


@cache
def ogg_of_an_hour() -> bytes:
    """The last page claims to end an hour later than it does."""
    data = bytearray(sound("ogg", "libopus", 1.0))
    last = data.rindex(b"OggS")
    data[last + 6 : last + 14] = (3600 * 48_000).to_bytes(8, "little")
    data[last + 22 : last + 26] = bytes(4)
    data[last + 22 : last + 26] = _ogg_checksum(data[last:]).to_bytes(4, "little")
    return bytes(data)


def _ogg_checksum(page: bytes | bytearray) -> int:
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C1_1DB7 if checksum & 0x8000_0000 else 0)) & 0xFFFF_FFFF
    return checksum


def mp4_promising(samples: int, edits: int = 1) -> bytes:
    """A table of sizes that has one size for all of its samples, and so any number of them in 20 bytes."""
    data = bytearray(mp4(10))
    table = data.index(b"stsz") + 8
    data[table : table + 8] = struct.pack(">II", 1, samples)
    count = data.index(b"elst") + 8
    data[count : count + 4] = edits.to_bytes(4, "big")
    return bytes(data)


def mp4_fragment_promising(samples: int) -> bytes:
    """A fragment's run of samples that take no bytes in it."""
    data = bytearray(video("mp4", "libx264", 10, movflags="frag_keyframe+empty_moov"))
    run = data.index(b"trun") + 4
    data[run : run + 8] = struct.pack(">II", 1, samples)
    return bytes(data)


def mp4_lasting_an_hour() -> bytes:
    """Ten frames, each shown for minutes."""
    data = bytearray(mp4(10))
    entry = data.index(b"stts") + 16
    data[entry : entry + 4] = (12_800 * 360).to_bytes(4, "big")
    return bytes(data)
