"""Sound files of every kind become mono samples at 16 kHz, in the right number."""

from __future__ import annotations

import io
import math
import struct
import wave
from typing import Any

import av
import numpy as np
import pytest

from model.preprocess.errors import UnusableMedia
from model.preprocess.mel import sound_mels
from model.preprocess.sound import decode_sound, resample
from model.soft_tokens import SoftTokenRules, audio_soft_tokens

RULES = SoftTokenRules()
CODECS = {"audio/flac": ("flac", "flac"), "audio/mpeg": ("mp3", "libmp3lame"), "audio/ogg": ("ogg", "libopus")}


def tone(length: int, rate_hz: int, hz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(length) / rate_hz)


def wav(samples_CS: np.ndarray, rate_hz: int, bits: int = 16) -> bytes:
    """PCM: unsigned for 8 bits, signed for 16 to 32."""
    scaled = np.round(samples_CS.T * (2 ** (bits - 1) - 1)).astype(np.int64) + (128 if bits == 8 else 0)
    low_bytes = scaled.astype("<i8").reshape(-1, 1).view(np.uint8)[:, : bits // 8]
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(len(samples_CS))
        writer.setsampwidth(bits // 8)
        writer.setframerate(rate_hz)
        writer.writeframes(low_bytes.tobytes())
    return file.getvalue()


def float_wav(samples: np.ndarray, rate_hz: int = 16_000) -> bytes:
    body = samples.astype("<f4").tobytes()
    fmt = struct.pack("<HHIIHH", 3, 1, rate_hz, 0, 4, 32)
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def compressed(mime_type: str, samples: np.ndarray, rate_hz: int) -> bytes:
    container, codec = CODECS[mime_type]
    stereo = np.repeat(np.round(samples * 32767).astype(np.int16), 2)
    frame = av.AudioFrame.from_ndarray(stereo[None], format="s16", layout="stereo")
    frame.sample_rate, frame.pts = rate_hz, 0
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate_hz, layout="stereo")
        for item in (frame, None):
            output.mux(stream.encode(item))
    return file.getvalue()


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_width_and_number_of_channels_gives_the_mean_of_the_channels(bits: int, channels: int) -> None:
    signal = tone(1600, 16_000)
    data = wav(np.stack([signal * (i + 1) / channels for i in range(channels)]), 16_000, bits)
    expected = signal * (channels + 1) / (2 * channels)
    np.testing.assert_allclose(decode_sound(data, "audio/wav", RULES), expected, atol=1.5 * 2.0 ** (1 - bits) + 1e-6)


def test_16_bit_mono_at_the_model_s_rate_is_taken_as_it_is() -> None:
    values = np.random.default_rng(0).integers(-32768, 32767, 4801)
    data = wav(values[None] / 32767, 16_000)
    assert np.array_equal(decode_sound(data, "audio/wav", RULES), (values / 32768).astype(np.float32))


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 44_101])
@pytest.mark.parametrize("length", [1, 700, 20_001])
def test_every_rate_gives_the_duration_rounded_up_to_whole_samples(rate_hz: int, length: int) -> None:
    samples = decode_sound(wav(tone(length, rate_hz)[None], rate_hz), "audio/wav", RULES)
    assert len(samples) == math.ceil(round(length / rate_hz * 16_000, 3))
    assert samples.dtype == np.float32


@pytest.mark.parametrize("rate_hz", [8000, 22_050, 44_100, 48_000])
def test_a_tone_stays_itself_in_place_and_height(rate_hz: int) -> None:
    samples = decode_sound(wav(tone(rate_hz, rate_hz)[None], rate_hz), "audio/wav", RULES)
    middle = slice(500, -500)
    np.testing.assert_allclose(samples[middle], tone(16_000, 16_000)[middle], atol=1e-3)


def test_a_tone_beyond_half_the_rate_is_removed_and_not_folded_back() -> None:
    samples = resample(tone(48_000, 48_000, 9500).astype(np.float32), 48_000, 16_000)
    assert np.abs(samples[500:-500]).max() < 2e-3


@pytest.mark.parametrize("mime_type", CODECS)
def test_every_container_gives_its_sound_and_the_counted_soft_tokens(mime_type: str) -> None:
    data = compressed(mime_type, tone(48_000, 48_000), 48_000)
    samples = decode_sound(data, mime_type, RULES)
    assert 15_900 < len(samples) < 18_000  # MP3 pads to whole frames
    spectrum = np.abs(np.fft.rfft(samples[2000:14_000]))
    assert spectrum.argmax() * 16_000 / 12_000 == pytest.approx(440, abs=2)
    assert -(-len(sound_mels(data, mime_type, RULES)) // 4) == audio_soft_tokens(len(samples) / 16_000, RULES)


def test_nothing_after_thirty_seconds_is_heard() -> None:
    samples = decode_sound(wav(np.zeros((1, 8000 * 40)), 8000), "audio/wav", RULES)
    assert len(samples) == 480_000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sound_with_numbers_that_are_none_is_refused(bad: float) -> None:
    samples = tone(3200, 16_000)
    assert len(decode_sound(float_wav(samples), "audio/wav", RULES)) == 3200
    samples[100] = bad
    with pytest.raises(UnusableMedia, match="not finite"):
        decode_sound(float_wav(samples), "audio/wav", RULES)


@pytest.mark.parametrize("data", [b"", b"RIFF", wav(np.zeros((1, 0)), 16_000), b"fLaC" * 9])
def test_bytes_that_are_no_sound_are_refused(data: bytes) -> None:
    with pytest.raises(UnusableMedia):
        decode_sound(data, "audio/wav", RULES)


@pytest.mark.parametrize("rate_hz", [1, 7, 3_000_000, 2**31 - 1])
def test_an_absurd_rate_is_read_or_refused_but_not_obeyed_at_any_cost(rate_hz: int) -> None:
    try:
        assert len(decode_sound(float_wav(tone(5000, 16_000), rate_hz), "audio/wav", RULES)) <= 480_000
    except UnusableMedia as error:
        assert str(rate_hz) in str(error)  # noqa: PT017


def test_a_sound_without_a_single_frame_is_refused() -> None:
    with pytest.raises(UnusableMedia, match="too short"):
        sound_mels(wav(np.zeros((1, 160)), 16_000), "audio/wav", RULES)
