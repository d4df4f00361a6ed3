"""What the inspection takes becomes as many soft tokens as were counted, or is refused with words.

The gateway counts by what cluster/media measured; the replica decodes once more, by itself.
"""

from __future__ import annotations

import struct
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.media import Inspector, MediaError
from cluster.request import MediaInfo
from model.media_encoder import MediaEncoder
from model.multimodal import load_multimodal
from model.preprocess.errors import UnusableMedia
from model.soft_tokens import SoftTokenRules, audio_soft_tokens, image_soft_tokens, video_frames
from model.tiny import ensure_tiny
from tests.cluster import hostile_samples as hostile
from tests.cluster import media_samples as samples

RULES = SoftTokenRules(max_image_tokens=70, max_frames=3)
SEEDS = {
    **{mime_type: [data] for mime_type, data in samples.SAMPLES.items()},
    "image/png": [samples.image("PNG"), samples.image("PNG", 9, 30, mode="P"), samples.animation("PNG")],
    "image/jpeg": [samples.image("JPEG"), samples.image("JPEG", 30, 9, mode="CMYK", progressive=True)],
    "image/webp": [samples.image("WEBP"), samples.image("WEBP", lossless=True), samples.animation("WEBP")],
    "image/gif": [samples.image("GIF"), samples.animation("GIF")],
    "audio/wav": [samples.wav(0.1), hostile.wav_24_bit(), hostile.wav_of(hostile.TONE.astype("<f4"))],
    "audio/flac": [samples.flac(0.1)],
    "audio/mpeg": [samples.mp3(0.2)],
    "audio/ogg": [samples.ogg(0.2), samples.sound("ogg", "flac", 0.1)],
    "video/mp4": [samples.mp4(5), samples.mp4(5, movflags="frag_keyframe+empty_moov")],
    "video/webm": [samples.webm(5), samples.video("webm", "libvpx", 5)],
}
# Numbers at which lengths, counts and sizes go wrong.
EDGES = [0, 1, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF]
_edit = st.one_of(
    st.tuples(st.just("set"), st.floats(0, 1), st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("flip"), st.floats(0, 1), st.integers(0, 7)),
    st.tuples(st.just("number"), st.floats(0, 1), st.tuples(st.sampled_from(EDGES), st.sampled_from("<>"))),
    st.tuples(st.just("repeat"), st.floats(0, 1), st.tuples(st.integers(1, 200), st.integers(2, 50))),
    st.tuples(st.just("drop"), st.floats(0, 1), st.integers(1, 64)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.none()),
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> MediaEncoder:
    """Of the tiny E2B."""
    path: Path = ensure_tiny("e2b", tmp_path_factory.mktemp("tiny"))
    return MediaEncoder(load_multimodal(path).encoders, RULES)


def damaged(data: bytes, edits: list[tuple[str, float, object]]) -> bytes:
    """`data` after each edit. Places are squared: headers lie at the front and deserve most of the damage."""
    found = bytearray(data)
    for name, place, value in edits:
        start = int(place**2 * (len(found) - 1)) if found else 0
        match name, value:
            case "set", bytes():
                found[start : start + len(value)] = value
            case "flip", int():
                found[start : start + 1] = bytes(byte ^ 1 << value for byte in found[start : start + 1])
            case "number", (int(number), str(order)):
                found[start : start + 4] = struct.pack(f"{order}I", number)
            case "repeat", (int(length), int(times)):
                found[start:start] = found[start : start + length] * times
            case "drop", int():
                del found[start : start + value]
            case "cut", None:
                del found[start:]
    return bytes(found)


def counted(info: MediaInfo) -> int:
    if info.modality == "image":
        return image_soft_tokens(info.width, info.height, RULES)
    if info.modality == "audio":
        return audio_soft_tokens(info.duration_s, RULES)
    return video_frames(info.width, info.height, info.frame_count, info.frames_per_s, RULES).tokens


def assert_law(encoder: MediaEncoder, data: bytes, mime_type: str) -> None:
    started = time.process_time()
    try:
        info = Inspector().inspect_media(data, mime_type)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of oddities in good images
            soft_ND = encoder.encode(data, info.mime_type)
    except (MediaError, UnusableMedia) as error:
        assert 0 < len(str(error)) < 1000  # noqa: PT017
    else:
        assert len(soft_ND) == counted(info)
        assert soft_ND.isfinite().all()
    assert time.process_time() - started < 20


few = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("mime_type", SEEDS)
def test_honest_files_keep_the_law(encoder: MediaEncoder, mime_type: str) -> None:
    for data in SEEDS[mime_type]:
        info = Inspector().inspect_media(data, mime_type)
        assert len(encoder.encode(data, mime_type)) == counted(info)


@pytest.mark.parametrize("mime_type", SEEDS)
@few
@given(which=st.integers(0, 2), edits=st.lists(_edit, min_size=1, max_size=4))
def test_damaged_files_keep_the_law(
    encoder: MediaEncoder, mime_type: str, which: int, edits: list[tuple[str, float, object]]
) -> None:
    seeds = SEEDS[mime_type]
    assert_law(encoder, damaged(seeds[which % len(seeds)], edits), mime_type)


@pytest.mark.parametrize("mime_type", SEEDS)
@few
@given(which=st.integers(0, 2), kept=st.integers(4, 120), tail=st.binary(max_size=300))
def test_a_good_beginning_with_anything_behind_it_keeps_the_law(
    encoder: MediaEncoder, mime_type: str, which: int, kept: int, tail: bytes
) -> None:
    seeds = SEEDS[mime_type]
    assert_law(encoder, seeds[which % len(seeds)][:kept] + tail, mime_type)
