"""Sound files to samples: any rate and number of channels to one channel at the model's rate.

Shapes: C channels, S samples.
"""

from __future__ import annotations

import math
from typing import Any

import av
import numpy as np

from model.preprocess.container import opened
from model.preprocess.errors import UnusableMedia
from model.soft_tokens import SoftTokenRules

# Full scale is 1. Files of unscaled integers are taken too; sums over a window must stay within float32.
_LOUDEST = 2.0**32


def decode_sound(data: bytes, mime_type: str, rules: SoftTokenRules) -> np.ndarray:
    """The samples as float32 [S] in -1..1, channels averaged, at `rules.sampling_rate_hz`.

    S is the duration times the rate, rounded up, and at most `rules.max_audio_samples`: the rest is cut off, so
    that counts are those of soft_tokens.audio_soft_tokens. Raises UnusableMedia.
    """
    samples_S, rate_hz = _decode(data, mime_type, rules)
    # Rounded first, as durations in seconds are.
    length = math.ceil(round(len(samples_S) / rate_hz * rules.sampling_rate_hz, 3))
    resampled_S = resample(samples_S, rate_hz, rules.sampling_rate_hz)[:length]
    return np.pad(resampled_S, (0, length - len(resampled_S)))[: rules.max_audio_samples]


def _decode(data: bytes, mime_type: str, rules: SoftTokenRules) -> tuple[np.ndarray, int]:
    """Samples [S] of one channel and their rate; decoding ends soon after the longest sound that is taken."""
    parts: list[np.ndarray] = []
    count, rate_hz = 0, 0
    with opened(data, mime_type, "audio") as (container, stream, file):
        for frame in container.decode(stream):
            file.check_time()
            if rate_hz not in (0, frame.sample_rate):
                raise UnusableMedia("the sound changes its sample rate midway")
            rate_hz = frame.sample_rate
            parts.append(_mono(frame))
            count += frame.samples
            if count > rate_hz * (rules.max_audio_s + 1):
                break
    if not count:
        raise UnusableMedia("the sound holds no samples")
    return np.concatenate(parts), rate_hz


def _mono(frame: Any) -> np.ndarray:
    """Mean of a frame's channels, float32 [S]."""
    values = frame.to_ndarray()
    check_loudness(values)
    samples_CS = values if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels).T
    mean_S: np.ndarray = _in_unit_range(samples_CS).mean(0, dtype=np.float32)
    return mean_S


def check_loudness(values: np.ndarray) -> None:
    """Raises UnusableMedia for samples that are not finite, or so large that they are no sound."""
    if values.dtype.kind == "f" and values.size and not np.abs(values).max() <= _LOUDEST:
        raise UnusableMedia(f"the sound has samples that are not finite numbers, or beyond {_LOUDEST:g}")


def _in_unit_range(samples_CS: np.ndarray) -> np.ndarray:
    if samples_CS.dtype == np.uint8:
        return (samples_CS.astype(np.float32) - 128) / 128
    if samples_CS.dtype.kind == "i":
        return samples_CS.astype(np.float32) / -float(np.iinfo(samples_CS.dtype).min)
    return samples_CS.astype(np.float32)


def resample(samples_S: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Band-limited resampling by FFmpeg; the first sample stays at time 0. Raises UnusableMedia for absurd rates."""
    if from_hz == to_hz:
        return samples_S
    try:
        return _resample(samples_S, from_hz, to_hz)
    except av.error.FFmpegError as error:
        raise UnusableMedia(f"the sound's {from_hz} samples a second cannot be resampled") from error


def _resample(samples_S: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=to_hz)
    frame = av.AudioFrame.from_ndarray(samples_S[None], format="flt", layout="mono")
    frame.sample_rate = from_hz
    parts = [out.to_ndarray()[0] for out in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate([np.zeros(0, np.float32), *parts])
