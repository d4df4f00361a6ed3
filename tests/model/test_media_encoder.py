"""From the bytes of real files to soft tokens, against transformers' processors and towers in a row."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

from model.media_encoder import MediaEncoder
from model.multimodal import load_multimodal
from model.preprocess.errors import UnusableMedia
from model.preprocess.sound import decode_sound
from model.soft_tokens import SoftTokenRules, audio_soft_tokens, image_soft_tokens, video_frames
from model.vision.patches import Patches
from tests.model.media_checkpoint import MakeMediaCheckpoint, make_media_checkpoint, reference, worst_row_error
from tests.model.preprocess.test_images import encoded, photo
from tests.model.preprocess.test_sound import compressed, tone, wav
from tests.model.preprocess.test_video import movie, whole
from tests.model.vision.test_vision_parity import theirs

__all__ = ["make_media_checkpoint"]

RULES = SoftTokenRules()
TOLERANCE = 1e-4


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("variant", ["e2b", "31b"])
@pytest.mark.parametrize(
    ("size", "kind", "tokens"),
    [
        ((333, 177), "PNG", 280),
        ((40, 900), "JPEG", 70),
        ((700, 500), "WEBP", 140),
        ((48, 48), "GIF", 560),
        ((901, 77), "PNG", 1120),
    ],
)
def test_an_image_file_gives_the_soft_tokens_of_the_reference(
    make_media_checkpoint: MakeMediaCheckpoint, variant: str, size: tuple[int, int], kind: str, tokens: int, seed: int
) -> None:
    path, data = make_media_checkpoint(variant, seed), encoded(photo(*size, seed=seed), kind)
    soft = MediaEncoder(load_multimodal(path).encoders, RULES).encode(data, f"image/{kind.lower()}", tokens)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    inputs = Gemma4ImageProcessorPil()(image, max_soft_tokens=tokens, return_tensors="pt")
    with torch.inference_mode():
        features = reference(path).model.get_image_features(inputs["pixel_values"], inputs["image_position_ids"])
    assert len(soft) == image_soft_tokens(*size, SoftTokenRules(max_image_tokens=tokens))
    assert worst_row_error(soft, features.pooler_output[0]) < TOLERANCE


@pytest.mark.parametrize("seconds", [0.3, 1.0, 7.77, 30.0])
def test_a_sound_file_gives_the_soft_tokens_of_the_reference(
    make_media_checkpoint: MakeMediaCheckpoint, seconds: float
) -> None:
    path, data = make_media_checkpoint("e2b", 0), wav(tone(round(16_000 * seconds), 16_000)[None], 16_000)
    soft = MediaEncoder(load_multimodal(path).encoders, RULES).encode(data, "audio/wav")
    samples = decode_sound(data, "audio/wav", RULES)
    inputs = Gemma4AudioFeatureExtractor()([samples], return_tensors="pt")
    with torch.inference_mode():
        features = reference(path).model.get_audio_features(inputs["input_features"], inputs["input_features_mask"])
    expected: Tensor = features.pooler_output[features.attention_mask]
    assert len(soft) == audio_soft_tokens(seconds, RULES)
    assert worst_row_error(soft, expected) < TOLERANCE


@pytest.mark.parametrize("variant", ["e2b", "31b"])
@pytest.mark.parametrize(("tokens", "seed"), [(None, 0), (140, 1), (560, 2)])
def test_a_video_file_gives_the_soft_tokens_of_the_reference_frame_by_frame(
    make_media_checkpoint: MakeMediaCheckpoint, variant: str, tokens: int | None, seed: int
) -> None:
    path, data = make_media_checkpoint(variant, seed), movie("video/mp4", 40)
    plain = SoftTokenRules(max_frames=4)
    soft = MediaEncoder(load_multimodal(path).encoders, plain).encode(data, "video/mp4", tokens)
    rules = replace(plain, max_frame_tokens=tokens or 70)
    assert len(soft) == video_frames(96, 64, 40, 25, rules).tokens
    assert worst_row_error(soft, theirs(path, _frame_by_frame(data, rules))) < TOLERANCE


def _frame_by_frame(data: bytes, rules: SoftTokenRules) -> list[Patches]:
    patches = whole(data, "video/mp4", rules)
    return [replace(patches, values_BPC=frame[None]) for frame in patches.values_BPC]


def test_a_medium_the_model_has_no_encoder_for_is_refused(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    encoder = MediaEncoder(load_multimodal(make_media_checkpoint("31b", 0)).encoders, RULES)
    with pytest.raises(ValueError, match="no audio encoder"):
        encoder.encode(compressed("audio/ogg", tone(48_000, 48_000), 48_000), "audio/ogg")


@pytest.mark.parametrize("mime_type", ["image/png", "audio/flac", "video/webm"])
def test_bytes_that_are_no_medium_are_refused(make_media_checkpoint: MakeMediaCheckpoint, mime_type: str) -> None:
    encoder = MediaEncoder(load_multimodal(make_media_checkpoint("e2b", 0)).encoders, RULES)
    with pytest.raises(UnusableMedia):
        encoder.encode(b"nothing of the kind", mime_type)
