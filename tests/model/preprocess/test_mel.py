"""Samples become the very mel frames that transformers' Gemma4AudioFeatureExtractor makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor

from model.preprocess.mel import log_mels, mel_filters
from model.soft_tokens import SoftTokenRules, audio_soft_tokens

RULES = SoftTokenRules()
# 0.3 s to 30 s, and the shortest that have a frame at all.
LENGTHS = [161, 320, 321, 4800, 4801, 16_000, 52_345, 480_000]


def wave(length: int, seed: int = 0) -> np.ndarray:
    """Two tones in noise, fading in."""
    generator = np.random.default_rng(seed)
    time = np.arange(length) / 16_000
    tones = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 3333 * time)
    return ((tones + generator.normal(0, 0.05, length)) * np.minimum(1, time * 20)).astype(np.float32)


def reference_mels(samples: np.ndarray) -> Tensor:
    """The frames that the reference's mask keeps."""
    features = Gemma4AudioFeatureExtractor()([samples], return_tensors="pt")
    mels: Tensor = features["input_features"][0][features["input_features_mask"][0]]
    return mels


@pytest.mark.parametrize("length", LENGTHS)
def test_mel_frames_are_those_of_the_reference(length: int) -> None:
    mels = log_mels(wave(length), RULES)
    torch.testing.assert_close(mels, reference_mels(wave(length)), rtol=1e-6, atol=1e-6)
    assert -(-len(mels) // 4) == audio_soft_tokens(length / 16_000, RULES)


@pytest.mark.parametrize("samples", [np.zeros(5000, np.float32), np.ones(5000, np.float32)])
def test_silence_and_clipping_are_finite_and_those_of_the_reference(samples: np.ndarray) -> None:
    mels = log_mels(samples, RULES)
    assert mels.isfinite().all()
    torch.testing.assert_close(mels, reference_mels(samples), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("length", [0, 1, 160])
def test_less_than_a_window_has_no_frame(length: int) -> None:
    assert log_mels(np.zeros(length, np.float32), RULES).shape == (0, 128)


def test_mel_filters_are_those_of_the_reference() -> None:
    np.testing.assert_allclose(mel_filters(16_000, 512), Gemma4AudioFeatureExtractor().mel_filters, atol=1e-12)
