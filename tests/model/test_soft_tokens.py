"""Soft token counts equal what transformers' Gemma 4 processors give, over odd sizes and lengths."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor
from transformers.models.gemma4.image_processing_pil_gemma4 import (
    Gemma4ImageProcessorPil,
    get_aspect_ratio_preserving_size,
)
from transformers.video_utils import VideoMetadata, default_sample_indices_fn

from model.checkpoint import CheckpointError
from model.soft_tokens import SoftTokenRules, audio_soft_tokens, image_soft_tokens, resized, video_frames
from model.variants import E2B

RULES = SoftTokenRules()
sides = st.integers(1, 20_000)
AUDIO_LENGTHS = [0, 1, 160, 161, 162, 320, 321, 480, 481, 801, 1600, 12_345, 479_999, 480_000, 480_001]


def reference_audio_tokens(samples: int) -> int:
    """What Gemma4Processor.replace_audio_token counts on the feature extractor's mask."""
    mask = Gemma4AudioFeatureExtractor()([np.zeros(samples, np.float32)])["input_features_mask"][0]
    for _ in range(2):
        mask = mask[::2]
    return int(np.sum(mask))


@given(width=sides, height=sides, tokens=st.sampled_from([70, 140, 280, 560, 1120]))
def test_a_resized_image_has_the_size_transformers_gives_it(width: int, height: int, tokens: int) -> None:
    expected = get_aspect_ratio_preserving_size(height, width, 16, tokens * 9, 3)
    assert resized(width, height, tokens, RULES) == expected[::-1]


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (47, 49), (640, 480), (333, 1777), (3000, 11)])
def test_an_image_takes_as_many_tokens_as_the_image_processor_says(size: tuple[int, int]) -> None:
    width, height = size
    image = np.zeros((3, height, width), np.uint8)
    expected = Gemma4ImageProcessorPil()(image, input_data_format="channels_first")["num_soft_tokens_per_image"]
    assert image_soft_tokens(width, height, RULES) == int(expected[0])


def test_known_images_have_known_counts() -> None:
    assert image_soft_tokens(896, 896, RULES) == 256
    assert image_soft_tokens(1920, 1080, RULES) == 264
    assert image_soft_tokens(1, 1_000_000, RULES) == 280


@pytest.mark.parametrize("samples", AUDIO_LENGTHS)
def test_a_sound_takes_as_many_tokens_as_the_feature_extractor_says(samples: int) -> None:
    expected = reference_audio_tokens(samples) if samples else 0
    assert audio_soft_tokens(samples / 16_000, RULES) == expected


def test_random_sounds_take_as_many_tokens_as_the_feature_extractor_says() -> None:
    chosen = random.Random(0)
    for samples in (chosen.randrange(1, 60_000) for _ in range(60)):
        assert audio_soft_tokens(samples / 16_000, RULES) == reference_audio_tokens(samples), samples


def test_thirty_seconds_are_the_most_a_sound_can_take() -> None:
    assert audio_soft_tokens(30, RULES) == 750
    assert audio_soft_tokens(3600, RULES) == 750
    assert RULES.max_audio_s == 30


@given(frames=st.integers(32, 100_000), rate=st.sampled_from([1.0, 12.5, 24.0, 25.0, 30_000 / 1001, 60.0]))
def test_frames_and_times_are_those_transformers_samples(frames: int, rate: float) -> None:
    metadata = VideoMetadata(total_num_frames=frames, fps=rate)
    metadata.frames_indices = list(default_sample_indices_fn(metadata, num_frames=32))
    video = video_frames(640, 360, frames, rate, RULES)
    assert list(video.indices) == metadata.frames_indices
    assert list(video.times_s) == metadata.timestamps


def test_a_short_video_gives_each_of_its_frames() -> None:
    video = video_frames(640, 360, 3, 0.5, RULES)
    assert video.indices == (0, 1, 2)
    assert video.labels == ("00:00", "00:02", "00:04")
    assert video.tokens == 3 * video.tokens_per_frame


def test_a_frame_takes_as_many_tokens_as_transformers_gives_it() -> None:
    for width, height in [(64, 48), (1920, 1080), (1080, 1920), (17, 4000)]:
        target_height, target_width = get_aspect_ratio_preserving_size(height, width, 16, 70 * 9, 3)
        expected = target_height * target_width // 48**2
        assert video_frames(width, height, 40, 25, RULES).tokens_per_frame == expected


def test_minutes_go_on_past_99_and_an_unknown_rate_counts_as_24() -> None:
    assert video_frames(64, 64, 6001, 1, RULES).labels[-1] == "96:53"
    assert video_frames(64, 64, 60_000, 1, RULES).labels[-1] == "968:45"
    assert video_frames(64, 64, 48, 0, RULES).labels[-1] == "00:01"


@pytest.mark.parametrize("size", [(0, 10), (10, 0)])
def test_an_image_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="no pixels"):
        image_soft_tokens(*size, RULES)
    with pytest.raises(ValueError, match="without frames"):
        video_frames(64, 64, 0, 25, RULES)


def write(path: Path, name: str, content: dict[str, Any]) -> None:
    (path / name).write_text(json.dumps(content))


def test_rules_come_from_the_processor_config_before_the_model_config(tmp_path: Path) -> None:
    write(
        tmp_path,
        "config.json",
        E2B.to_hf() | {"vision_config": {"default_output_length": 140, "patch_size": 8}},
    )
    assert SoftTokenRules.from_checkpoint(tmp_path) == SoftTokenRules(patch_size=8, max_image_tokens=140)
    processor = {
        "image_processor": {"max_soft_tokens": 560, "patch_size": 16},
        "video_processor": {"max_soft_tokens": 140, "num_frames": 8},
        "feature_extractor": {"sampling_rate": 8000, "frame_length": 160, "hop_length": 80},
        "audio_seq_length": 700,
    }
    write(tmp_path, "processor_config.json", processor)
    assert SoftTokenRules.from_checkpoint(tmp_path) == SoftTokenRules(
        max_image_tokens=560,
        max_frame_tokens=140,
        max_frames=8,
        sampling_rate_hz=8000,
        window_samples=160,
        hop_samples=80,
        max_audio_tokens=700,
    )


def test_rules_are_read_from_what_transformers_saves(tmp_path: Path) -> None:
    Gemma4ImageProcessorPil(max_soft_tokens=1120).save_pretrained(tmp_path)
    assert SoftTokenRules.from_checkpoint(tmp_path) == SoftTokenRules(max_image_tokens=1120)


def test_a_folder_without_configs_has_the_published_rules(tmp_path: Path) -> None:
    assert SoftTokenRules.from_checkpoint(tmp_path) == RULES


@pytest.mark.parametrize("value", [0, -1, 1.5, "280", True])
def test_a_senseless_rule_is_refused_by_name(tmp_path: Path, value: object) -> None:
    write(tmp_path, "processor_config.json", {"image_processor": {"max_soft_tokens": value}})
    with pytest.raises(CheckpointError, match="max_image_tokens"):
        SoftTokenRules.from_checkpoint(tmp_path)
