"""Whatever the bytes are, they become finite tensors or UnusableMedia, and nothing else."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.preprocess.errors import UnusableMedia
from model.preprocess.images import image_patches
from model.preprocess.mel import sound_mels
from model.soft_tokens import SoftTokenRules
from tests.model.preprocess.test_images import encoded, photo
from tests.model.preprocess.test_sound import compressed, float_wav, tone
from tests.model.preprocess.test_video import movie, whole

RULES = SoftTokenRules(max_image_tokens=70, max_frames=3)


@cache
def sample(mime_type: str) -> bytes:
    if mime_type.startswith("image"):
        return encoded(photo(40, 30), mime_type.removeprefix("image/").upper())
    if mime_type.startswith("video"):
        return movie(mime_type, 6, 32, 32)
    return (
        float_wav(tone(800, 16_000)) if mime_type == "audio/wav" else compressed(mime_type, tone(2400, 48_000), 48_000)
    )


def assert_tensor_or_refusal(data: bytes, mime_type: str) -> None:
    try:
        if mime_type.startswith("audio"):
            values = sound_mels(data, mime_type, RULES)
        elif mime_type.startswith("video"):
            values = whole(data, mime_type, RULES).values_BPC
        else:
            values = image_patches(data, RULES).values_BPC
    except UnusableMedia:
        return
    assert values.isfinite().all()
    assert values.numel()


MIME_TYPES = [
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/gif",
    "audio/wav",
    "audio/flac",
    "audio/mpeg",
    "audio/ogg",
    "video/mp4",
    "video/webm",
]
few = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("mime_type", MIME_TYPES)
@few
@given(data=st.data())
def test_damaged_files_are_read_or_refused(mime_type: str, data: st.DataObject) -> None:
    damaged = bytearray(sample(mime_type))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    kept = data.draw(st.integers(len(damaged) // 2, len(damaged)))
    assert_tensor_or_refusal(bytes(damaged[:kept]), mime_type)


@pytest.mark.parametrize("mime_type", MIME_TYPES)
@few
@given(data=st.binary(max_size=200))
def test_random_bytes_are_refused(mime_type: str, data: bytes) -> None:
    assert_tensor_or_refusal(sample(mime_type)[:12] + data, mime_type)
