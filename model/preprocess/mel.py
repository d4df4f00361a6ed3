"""Samples to log-mel frames, as transformers' Gemma4AudioFeatureExtractor makes them.

Shapes: S samples, F frames, L samples of a window, B frequency bins, M mel bins.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from model.preprocess.errors import UnusableMedia
from model.preprocess.sound import decode_sound
from model.soft_tokens import SoftTokenRules

NUM_MEL_BINS = 128
# Keeps the logarithm of silence finite.
_FLOOR = 1e-3


def sound_mels(data: bytes, mime_type: str, rules: SoftTokenRules) -> Tensor:
    """The log-mel frames of a sound file, float32 [F, M]. Raises UnusableMedia, also for less than one frame."""
    mel_FM = log_mels(decode_sound(data, mime_type, rules), rules)
    if not len(mel_FM):
        raise UnusableMedia("the sound is too short for a single frame")
    return mel_FM


def log_mels(samples_S: np.ndarray, rules: SoftTokenRules) -> Tensor:
    """Samples at `rules.sampling_rate_hz` -> float32 [F, M]; only frames that lie wholly within the sound."""
    window_L = _hann(rules.window_samples)
    # The first frame is centred on the first sample.
    padded_S = np.pad(samples_S.astype(np.float32), (rules.window_samples // 2, 0))
    # A frame needs one sample more than its window.
    if len(padded_S) <= rules.window_samples:
        return torch.zeros(0, NUM_MEL_BINS)
    starts = np.lib.stride_tricks.sliding_window_view(padded_S, rules.window_samples + 1)
    frames_FL = starts[:: rules.hop_samples, :-1]
    fft_size = 1 << (rules.window_samples - 1).bit_length()
    magnitude_FB = np.abs(np.fft.rfft(frames_FL * window_L, n=fft_size, axis=-1))
    mel_FM = magnitude_FB @ mel_filters(rules.sampling_rate_hz, fft_size)
    return torch.from_numpy(np.log(mel_FM + _FLOOR).astype(np.float32))


def _hann(size: int) -> np.ndarray:
    """A periodic Hann window."""
    window_L: np.ndarray = np.hanning(size + 1)[:-1].astype(np.float32)
    return window_L


@lru_cache(maxsize=4)
def mel_filters(sampling_rate_hz: int, fft_size: int) -> np.ndarray:
    """Triangles evenly spaced on the mel scale (HTK's) up to half the rate, height 1: float64 [B, M]."""
    top_hz = sampling_rate_hz // 2
    bins_hz_B1 = np.linspace(0, top_hz, fft_size // 2 + 1)[:, None]
    top_mel = 2595 * np.log10(1 + top_hz / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top_mel, NUM_MEL_BINS + 2) / 2595) - 1)
    left_M, centre_M, right_M = corners_hz[:-2], corners_hz[1:-1], corners_hz[2:]
    rising_BM = (bins_hz_B1 - left_M) / (centre_M - left_M)
    falling_BM = (right_M - bins_hz_B1) / (right_M - centre_M)
    filters_BM: np.ndarray = np.maximum(0, np.minimum(rising_BM, falling_BM))
    return filters_BM
