"""What a microphone and a room do to a clip: loudness, noise, and silence around it.

Shapes: N samples.
"""

import random

import numpy as np

from model.pocket.speech.espeak import SAMPLING_RATE_HZ

MAX_SILENCE_S = 0.2
_SNR_DB = (10.0, 40.0)
_GAIN = (0.3, 1.0)
_CLEAN_SHARE = 0.2


def recorded(rng: random.Random, samples_N: np.ndarray) -> np.ndarray:
    """The clip as float32 [N] in -1..1 with silence of up to 0.2 s before and after; one in five is without noise."""
    before, after = (round(rng.uniform(0, MAX_SILENCE_S) * SAMPLING_RATE_HZ) for _ in range(2))
    speech_N = np.pad(samples_N, (before, after)).astype(np.float32)
    gain = rng.uniform(*_GAIN) / np.abs(speech_N).max()
    if rng.random() >= _CLEAN_SHARE:
        power = float(np.mean(np.square(samples_N))) / 10 ** (rng.uniform(*_SNR_DB) / 10)
        speech_N += _noise(rng, len(speech_N)) * np.float32(power**0.5)
    heard_N: np.ndarray = np.clip(speech_N * np.float32(gain), -1, 1)
    return heard_N


def _noise(rng: random.Random, length: int) -> np.ndarray:
    """White or pink noise [N] of power 1."""
    white_N = np.random.default_rng(rng.getrandbits(64)).standard_normal(length, dtype=np.float32)
    if rng.random() < 0.5:
        return white_N
    spectrum = np.fft.rfft(white_N)
    # Pink: power falls as the frequency rises.
    pink_N: np.ndarray = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), length).astype(np.float32)
    pink_N /= np.sqrt(np.mean(np.square(pink_N)))
    return pink_N
