"""Files made to hurt are refused with words, in little memory and time; odd but honest ones are taken."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cluster.media import Inspector, MediaError, MediaLimits
from tests.cluster import hostile_samples as hostile
from tests.cluster import media_samples as samples

# The machine may be busy.
PATIENT = MediaLimits(max_decode_s=60)
REFUSED = {
    "100 megapixels": ("image/jpeg", hostile.blank("JPEG", 10_000, 10_000), "at most 50 megapixels"),
    "a line of pixels": ("image/png", hostile.blank("PNG", 2_000_000, 1), "65,535 are taken along a side"),
    "no file at all": ("image/png", b"", "the data are empty"),
    "wrong type": ("image/png", samples.image("JPEG"), "the bytes are image/jpeg"),
    "nan": ("audio/wav", hostile.wav_with(np.nan), "not finite numbers"),
    "infinity": ("audio/wav", hostile.wav_with(-np.inf), "not finite numbers"),
    "beyond float32": ("audio/wav", hostile.wav_of(hostile.TONE * 1e300), "not finite numbers, or beyond"),
    "deafening": ("audio/wav", hostile.wav_with(3e38), "beyond 4.29497e+09"),
    "no samples": ("audio/wav", samples.wav(0), "holds no sound"),
    "1 Hz": ("audio/wav", hostile.wav_of(np.zeros(20, "<i2"), 1), "has 1 samples a second; 1,000 to 768,000"),
    "10 MHz": ("audio/wav", hostile.wav_of(np.zeros(400_000, "<i2"), 10_000_000), "has 10,000,000 samples a second"),
    "255 channels": ("audio/wav", hostile.wav_of(np.zeros(255_000, "<i2"), channels=255), "has 255 channels"),
    "no channels": ("audio/wav", hostile.wav_of(np.zeros(2000, "<i2"), channels=0), "truncated or corrupt"),
    "0 Hz": ("audio/wav", hostile.wav_of(np.zeros(2000, "<i2"), 0), "truncated or corrupt"),
    "minutes of FLAC": ("audio/flac", samples.flac(400, rate_hz=8000, layout="mono"), "lasts 400.0 s"),
    "FLAC that claims an hour": ("audio/flac", hostile.flac_of_an_hour(), "promises 3600.0 s, 1.0 s are there"),
    "Ogg that claims an hour": ("audio/ogg", hostile.ogg_of_an_hour(), "truncated: its header promises 3"),
    "MP4 that lasts an hour": ("video/mp4", hostile.mp4_lasting_an_hour(), "at most 600 s are taken"),
    "80 million samples": ("video/mp4", hostile.mp4_promising(80_000_000), "promises 80,000,000 samples"),
    "4 billion samples": ("video/mp4", hostile.mp4_promising(2**32 - 1), "promises 4,294,967,295 samples"),
    "a fragment of as many": ("video/mp4", hostile.mp4_fragment_promising(80_000_000), "promises 80,000,0"),
    "an edit repeated": ("video/mp4", hostile.mp4_promising(1_000_000, 1000), "1,000,000 samples in 1,000 edits"),
    "a compressed header": ("video/mp4", samples.mp4(5) + b"\0\0\0\x10moov\0\0\0\x08cmov", "compressed header"),
    "sound alone": ("video/mp4", samples.sound("mp4", "aac"), "has no video stream"),
}


@contextmanager
def at_most(megabytes: float, seconds: float) -> Iterator[None]:
    """Asserts what the block takes: processor time, and memory at its peak over what there was before."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, started = memory_mb("VmRSS"), time.process_time()
    yield
    assert time.process_time() - started < seconds
    assert memory_mb("VmHWM") - before < megabytes


def memory_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def test_peaks_of_memory_are_seen() -> None:
    with pytest.raises(AssertionError), at_most(50, 60):
        np.ones(50_000_000)


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_file_is_refused_in_little_memory_and_time(name: str) -> None:
    mime_type, data, words = REFUSED[name]
    with at_most(50, 5), pytest.raises(MediaError) as caught:
        Inspector(PATIENT).inspect_media(data, mime_type)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("mime_type", "data"),
    [
        ("image/png", hostile.blank("PNG", 7000, 7000)),
        ("image/webp", hostile.blank("WEBP", 7000, 7000, "RGB", lossless=True, method=0)),
        ("image/gif", hostile.blank("GIF", 7000, 7000)),
        ("image/jpeg", hostile.blank("JPEG", 7000, 7000, "CMYK", progressive=True)),
        ("image/gif", hostile.gif_of_frames(100_000)),
        ("image/png", hostile.blank("PNG", 65_535, 700)),
    ],
)
def test_the_largest_images_that_are_taken_stay_within_bounds(mime_type: str, data: bytes) -> None:
    with at_most(800, 10):
        assert Inspector(PATIENT).inspect_media(data, mime_type).modality == "image"


def test_a_million_frames_are_too_many() -> None:
    limits = MediaLimits(max_video_frames=40)
    with pytest.raises(MediaError, match="the MP4 video has more than 40 frames"):
        Inspector(limits).inspect_media(samples.mp4(41), "video/mp4")
    assert Inspector(limits).inspect_media(samples.mp4(40), "video/mp4").frame_count == 40


@pytest.mark.parametrize(
    "data",
    [
        hostile.wav_of((hostile.TONE * 127 + 128).astype(np.uint8)),
        hostile.wav_of((hostile.TONE * 2**15).astype("<i2")),
        hostile.wav_24_bit(),
        hostile.wav_of((hostile.TONE * 2**31).astype("<i4")),
        hostile.wav_of(hostile.TONE.astype("<f4")),
        hostile.wav_of(hostile.TONE.astype("<f8")),
        hostile.wav_of(np.repeat(hostile.TONE * 2**14, 30).astype("<i2"), channels=30),
        hostile.wav_of((hostile.TONE * 2**15).astype("<f4")),
    ],
    ids=["8 bit", "16 bit", "24 bit", "32 bit", "float", "double", "30 channels", "unscaled"],
)
def test_sound_of_every_depth_is_taken(data: bytes) -> None:
    assert Inspector().inspect_media(data, "audio/wav").duration_s == 0.5


@pytest.mark.parametrize(
    ("frames", "size"), [(1, (64, 48)), (3, (2, 2)), (3, (64, 48)), (2, (130, 34))], ids=["one", "2x2", "three", "odd"]
)
def test_small_videos_are_taken(frames: int, size: tuple[int, int]) -> None:
    info = Inspector().inspect_media(samples.mp4(frames, size=size), "video/mp4")
    assert (info.frame_count, info.width, info.height) == (frames, *size)


def test_a_video_of_odd_sides_is_taken() -> None:
    info = Inspector().inspect_media(samples.video("webm", "libvpx-vp9", 3, size=(33, 17)), "video/webm")
    assert (info.width, info.height) == (33, 17)


def test_an_orientation_that_is_no_whole_number_turns_nothing() -> None:
    # One entry of text, "6".
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x026\0\0\0\0\0\0\0"
    info = Inspector().inspect_media(samples.image("JPEG", 300, 50, exif=exif), "image/jpeg")
    assert (info.width, info.height) == (300, 50)
