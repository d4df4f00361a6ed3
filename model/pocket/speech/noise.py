"""What a microphone and a room do to a clip: loudness, noise, and silence around it.

Shapes: N samples.
"""

import random
from functools import cache

import numpy as np

from model.pocket.speech.espeak import SAMPLING_RATE_HZ

MAX_SILENCE_S = 0.2
_SNR_DB = (10.0, 40.0)
_GAIN = (0.3, 1.0)
_CLEAN_SHARE = 0.2
# Some 16 s; a power of two, for the transform's sake.
_NOISE_SAMPLES = 2**18


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
    """Some part of the white or the pink noise [N]; clips are shorter than either."""
    start = rng.randrange(_NOISE_SAMPLES - length)
    return _noises()[rng.randrange(2)][start : start + length]


@cache
def _noises() -> tuple[np.ndarray, np.ndarray]:
    """White and pink noise of power 1, always the same: drawing a part is far quicker than making it anew."""
    white_N = np.random.default_rng(0).standard_normal(_NOISE_SAMPLES, dtype=np.float32)
    spectrum = np.fft.rfft(white_N)
    # Pink: power falls as the frequency rises.
    pink_N = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), _NOISE_SAMPLES).astype(np.float32)
    return white_N, pink_N / np.sqrt(np.mean(np.square(pink_N)))
