"""Media laws: real files are measured right, everything else is a MediaError that says what to change."""

import asyncio
import resource
import struct
import time
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.errors import InvalidRequest
from cluster.media import Inspector, MediaError, MediaLimits, inspect, inspect_contents, inspect_media
from cluster.media.kinds import KINDS
from protos.gemmacluster.v1.content_pb2 import Blob, Content, Part
from tests.cluster import media_samples as samples

SAMPLES = samples.SAMPLES


def refusal(data: bytes, mime_type: str, limits: MediaLimits | None = None) -> str:
    with pytest.raises(MediaError) as caught:
        Inspector(limits).inspect_media(data, mime_type)
    return str(caught.value)


def outcome(data: bytes, mime_type: str) -> str:
    try:
        return inspect_media(data, mime_type).mime_type
    except MediaError as error:
        return str(error)


def media(data: bytes, mime_type: str) -> Part:
    return Part(inline_data=Blob(mime_type=mime_type, data=data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (31, 977)])
def test_an_image_has_its_size(kind: str, size: tuple[int, int]) -> None:
    info = inspect_media(samples.image(kind, *size), f"image/{kind.lower()}")
    assert (info.modality, info.width, info.height) == ("image", *size)
    assert (info.duration_s, info.frame_count) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "P"),
        ("PNG", "1"),
        ("PNG", "LA"),
        ("PNG", "RGBA"),
        ("PNG", "I;16"),
        ("GIF", "P"),
        ("JPEG", "CMYK"),
        ("JPEG", "L"),
        ("WEBP", "RGBA"),
    ],
)
def test_every_colour_mode_is_taken(kind: str, mode: str) -> None:
    data = samples.image(kind, 20, 10, mode=mode)
    assert inspect_media(data, f"image/{kind.lower()}").width == 20


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_a_moving_image_counts_as_its_first_frame(kind: str) -> None:
    info = inspect_media(samples.animation(kind), f"image/{kind.lower()}")
    assert (info.width, info.height, info.frame_count) == (40, 30, 0)


def test_a_progressive_jpeg_is_taken() -> None:
    assert inspect_media(samples.image("JPEG", 300, 200, progressive=True), "image/jpeg").width == 300


def test_a_photo_taken_sideways_has_the_size_it_is_seen_with() -> None:
    orientation = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    info = inspect_media(samples.image("JPEG", 60, 20, exif=orientation), "image/jpeg")
    assert (info.width, info.height) == (20, 60)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_spoil_a_good_image() -> None:
    data = samples.image("JPEG", 60, 20, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert inspect_media(data, "image/jpeg").width == 60


@pytest.mark.parametrize(
    ("data", "mime_type", "seconds"),
    [
        (samples.wav(2.5, 8000), "audio/wav", 2.5),
        (samples.wav(1.0, 44_100, 2), "audio/wav", 1.0),
        (samples.flac(1.25, rate_hz=96_000), "audio/flac", 1.25),
        (samples.flac(0.5, layout="5.1"), "audio/flac", 0.5),
        (samples.mp3(1.5, rate_hz=44_100), "audio/mpeg", 1.5),
        (samples.ogg(2.0, layout="mono"), "audio/ogg", 2.0),
        (samples.sound("ogg", "flac", 1.0), "audio/ogg", 1.0),
    ],
)
def test_a_sound_lasts_as_long_as_it_was_recorded(data: bytes, mime_type: str, seconds: float) -> None:
    info = inspect_media(data, mime_type)
    assert (info.modality, info.width, info.frame_count) == ("audio", 0, 0)
    assert info.duration_s == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (samples.mp4(40), "video/mp4"),
        (samples.mp4(40, movflags="frag_keyframe+empty_moov"), "video/mp4"),
        (samples.video("mp4", "mpeg4", 40), "video/mp4"),
        (samples.webm(40), "video/webm"),
        (samples.video("webm", "libvpx", 40), "video/webm"),
    ],
)
def test_a_video_has_its_size_frames_and_rate(data: bytes, mime_type: str) -> None:
    info = inspect_media(data, mime_type)
    assert (info.modality, info.width, info.height) == ("video", 64, 48)
    assert (info.frame_count, info.frames_per_s, info.duration_s) == (40, 25.0, 1.6)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("image/jpg", "image/jpeg"),
        ("AUDIO/X-WAV", "audio/wav"),
        ("audio/mp3", "audio/mpeg"),
        ("audio/ogg; codecs=opus", "audio/ogg"),
        (" video/webm;codecs=vp9", "video/webm"),
    ],
)
def test_a_media_type_may_be_written_in_the_usual_ways(written: str, canonical: str) -> None:
    assert inspect_media(SAMPLES[canonical], written).mime_type == canonical


@pytest.mark.parametrize("mime_type", ["image/tiff", "text/plain", "application/octet-stream", "x" * 10_000])
def test_an_unsupported_type_is_refused_with_the_supported_ones(mime_type: str) -> None:
    words = refusal(b"data", mime_type)
    assert "not supported" in words
    assert all(name in words for name in KINDS)
    assert len(words) < 400


def test_a_missing_type_is_refused() -> None:
    assert "no mime_type is given" in refusal(b"data", "")


@pytest.mark.parametrize("mime_type", SAMPLES)
def test_empty_data_are_refused(mime_type: str) -> None:
    assert refusal(b"", mime_type) == "the data are empty"


@pytest.mark.parametrize("mime_type", SAMPLES)
def test_bytes_of_another_type_are_refused_with_its_name(mime_type: str) -> None:
    other = next(name for name in SAMPLES if name != mime_type)
    assert f"but the bytes are {other}" in refusal(SAMPLES[other], mime_type)
    assert f"the bytes are not {mime_type}" in refusal(b"no medium at all", mime_type)


@pytest.mark.parametrize("mime_type", sorted(set(SAMPLES) - {"audio/mpeg"}))
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.85])
def test_a_truncated_file_is_refused(mime_type: str, kept: float) -> None:
    data = SAMPLES[mime_type] if mime_type != "image/png" else samples.image("PNG", 400, 300)
    assert "truncated" in refusal(data[: int(len(data) * kept)], mime_type)


def test_a_video_cut_after_its_index_is_refused() -> None:
    data = samples.mp4(50, size=(320, 240), movflags="frag_keyframe+empty_moov")
    assert "truncated" in refusal(data[: len(data) // 2], "video/mp4")


def test_a_cut_mp3_is_a_shorter_mp3() -> None:
    data = samples.mp3(2.0)
    assert inspect_media(data[: len(data) // 2], "audio/mpeg").duration_s == pytest.approx(1, abs=0.1)


def test_a_wav_whose_encoder_did_not_know_the_length_is_taken() -> None:
    data = bytearray(samples.wav(1.0))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert inspect_media(bytes(data), "audio/wav").duration_s == pytest.approx(1.0)


def test_more_sound_than_a_part_holds_is_refused_not_cut() -> None:
    words = refusal(samples.wav(31.0), "audio/wav")
    assert words == "the WAV sound lasts 31.0 s; at most 30 s of sound fit in one part"
    assert "at most 30 s" in refusal(samples.flac(31, rate_hz=8000, layout="mono"), "audio/flac")
    assert inspect_media(samples.wav(30.0), "audio/wav").duration_s == 30


def test_a_sound_too_short_for_a_token_is_refused() -> None:
    assert "too short" in refusal(samples.wav(0.01), "audio/wav")
    assert "no sound" in refusal(samples.wav(0), "audio/wav")
    assert inspect_media(samples.wav(161 / 16_000), "audio/wav").duration_s > 0


def test_a_file_without_the_wanted_stream_is_refused() -> None:
    assert "no video stream" in refusal(samples.sound("mp4", "aac"), "video/mp4")
    assert "no video stream" in refusal(samples.sound("webm", "libopus"), "video/webm")


def test_an_unusual_codec_is_refused_by_name() -> None:
    assert "encoded as mpeg2video" in refusal(samples.video("mp4", "mpeg2video", 5), "video/mp4")
    assert "encoded as adpcm_ms" in refusal(samples.sound("wav", "adpcm_ms"), "audio/wav")


def test_a_long_video_is_refused() -> None:
    limits = MediaLimits(max_video_s=1.0)
    assert refusal(samples.mp4(50), "video/mp4", limits) == "the MP4 video lasts 2 s; at most 1 s are taken"


def png_of(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, body, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def webp_of(side: int) -> bytes:
    extended = b"\0\0\0\0" + (side - 1).to_bytes(3, "little") * 2
    return b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + extended + samples.image("WEBP")[12:]


BOMBS = {
    "image/png": png_of(60_000, 60_000),
    "image/gif": b"GIF89a" + b"\xff" * 4 + samples.image("GIF")[10:],
    "image/webp": webp_of(16_383),
    "image/jpeg": samples.image("JPEG").replace(b"\0\x30\0\x40", b"\xff\0\xff\0", 1),
}


@pytest.mark.parametrize("mime_type", BOMBS)
def test_a_decompression_bomb_is_refused_from_its_header(mime_type: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    assert "at most 50 megapixels" in refusal(BOMBS[mime_type], mime_type)
    assert time.perf_counter() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_lossless_webp_bomb_is_refused_from_its_header() -> None:
    data = bytearray(samples.image("WEBP", lossless=True))
    data[21:25] = b"\xff\xff\xff\x0f"
    assert "16384x16384" in refusal(bytes(data), "image/webp")


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = samples.image("JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    assert "scans" in refusal(data[:start] + data[start:-2] * 20 + b"\xff\xd9", "image/jpeg")


def test_frames_beyond_the_limit_are_refused() -> None:
    limits = MediaLimits(max_frame_pixels=1000)
    assert "64x48" in refusal(samples.mp4(), "video/mp4", limits)
    assert "more than 0.0 megapixels" in refusal(samples.webm(), "video/webm", limits)


def test_a_frame_larger_than_its_container_says_is_not_decoded() -> None:
    data = samples.video("webm", "libvpx", 5)
    small = data.replace(b"\xb0\x81\x40", b"\xb0\x81\x08").replace(b"\xba\x81\x30", b"\xba\x81\x08")
    assert small != data
    assert "corrupt" in refusal(small, "video/webm", MediaLimits(max_frame_pixels=100))


@pytest.mark.parametrize("mime_type", ["image/png", "audio/flac", "video/mp4"])
def test_decoding_that_takes_too_long_is_given_up_and_not_held_against_the_file(mime_type: str) -> None:
    limits = MediaLimits(max_decode_s=-1.0)
    inspector = Inspector(limits)
    with pytest.raises(MediaError, match="takes longer"):
        inspector.inspect_media(SAMPLES[mime_type], mime_type)
    object.__setattr__(limits, "max_decode_s", 10.0)
    assert inspector.inspect_media(SAMPLES[mime_type], mime_type).mime_type == mime_type


@pytest.mark.parametrize(
    "head", [b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", b"ffconcat version 1.0\nfile /etc/hostname\n"]
)
def test_a_playlist_opens_no_file(head: bytes) -> None:
    for mime_type in ("audio/mpeg", "video/mp4", "audio/ogg"):
        assert "the bytes are not" in refusal(head, mime_type)
    assert "truncated or corrupt" in refusal(b"ID3" + head, "audio/mpeg")


def test_nothing_is_printed_about_broken_files(capfd: pytest.CaptureFixture[str]) -> None:
    for mime_type, data in SAMPLES.items():
        broken = data[: len(data) // 3] + bytes(len(data) // 3) + data[len(data) // 2 :]
        outcome(broken, mime_type)
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


@settings(max_examples=300, deadline=3000, suppress_health_check=[HealthCheck.too_slow])
@given(mime_type=st.sampled_from(sorted(SAMPLES)), data=st.binary(max_size=400), is_headed=st.booleans())
def test_arbitrary_bytes_are_at_worst_a_media_error(mime_type: str, data: bytes, is_headed: bool) -> None:
    head = SAMPLES[mime_type][: 12 + len(data) % 200] if is_headed else b""
    assert len(outcome(head + data, mime_type)) < 400


@settings(max_examples=400, deadline=3000, suppress_health_check=[HealthCheck.too_slow])
@given(
    mime_type=st.sampled_from(sorted(SAMPLES)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6),
)
def test_a_damaged_file_is_at_worst_a_media_error(mime_type: str, edits: list[tuple[float, bytes]]) -> None:
    data = bytearray(SAMPLES[mime_type])
    for place, patch in edits:
        # Squared: headers lie at the front and deserve most of the damage.
        start = int(place**2 * len(data))
        data[start : start + len(patch)] = patch
    assert "0x" not in outcome(bytes(data), mime_type)


def test_a_verdict_is_remembered_by_content() -> None:
    inspector = Inspector(remembered=2)
    first = inspector.inspect_media(samples.wav(0.1), "audio/wav")
    assert inspector.inspect_media(bytes(samples.wav(0.1)), "audio/x-wav") is first
    for seconds in (0.2, 0.3):
        inspector.inspect_media(samples.wav(seconds), "audio/wav")
    again = inspector.inspect_media(samples.wav(0.1), "audio/wav")
    assert again == first
    assert again is not first


async def test_a_bad_blob_names_its_field() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await inspect(Blob(mime_type="image/png", data=b"x"), "contents[0].parts[1].inline_data")
    assert caught.value.violations[0].field == "contents[0].parts[1].inline_data"


async def test_all_media_of_a_conversation_are_checked_at_once() -> None:
    good = Content(parts=[Part(text="see"), media(SAMPLES["image/png"], "image/png")])
    infos = await inspect_contents([good, good, Content(parts=[media(SAMPLES["audio/ogg"], "audio/ogg")])])
    assert sorted(info.modality for info in infos.values()) == ["audio", "image"]
    assert all(key == info.sha256 for key, info in infos.items())
    bad = Content(parts=[media(b"x", "image/png"), media(b"", "image/gif")])
    with pytest.raises(InvalidRequest) as caught:
        await inspect_contents([good, bad])
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["contents[1].parts[0].inline_data", "contents[1].parts[1].inline_data"]


async def test_decoding_does_not_stop_the_event_loop() -> None:
    task = asyncio.create_task(
        inspect(Blob(mime_type="image/png", data=samples.image("PNG", 4000, 4000, compress_level=1)), "f")
    )
    ticks = 0
    while not task.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert task.result().width == 4000
    assert ticks >= 5
