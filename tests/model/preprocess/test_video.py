"""Videos become the patches of the sampled frames, upright, whichever way the decoder gets to them.

`resized_frame` equals transformers' Gemma4VideoProcessor to the bit; it needs torchvision, so here stands what it does.
"""

from __future__ import annotations

import io
import struct
import time
from dataclasses import replace
from typing import Any

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.preprocess import container as container_module
from model.preprocess import video as video_module
from model.preprocess.errors import TookTooLong, UnusableMedia
from model.preprocess.video import index_video, resized_frame, video_patches
from model.soft_tokens import RESOLUTIONS, SoftTokenRules, video_frames
from model.vision.patches import Patches

RULES = SoftTokenRules()
KINDS = {
    "video/mp4": ("mp4", "libx264", {"g": "12"}),
    "video/webm": ("webm", "libvpx-vp9", {"g": "12"}),
}


def picture(number: int, width: int, height: int) -> np.ndarray:
    """A frame unlike any other of its video."""
    across, down = np.arange(width)[None, :, None], np.arange(height)[:, None, None]
    colours = np.array([3, 5, 7])[None, None]
    return ((across * 2 + down + number * colours * 3) % 256).astype(np.uint8)


def movie(
    mime_type: str,
    frames: int,
    width: int = 96,
    height: int = 64,
    rate: int = 25,
    options: dict[str, str] | None = None,
) -> bytes:
    container, codec, defaults = KINDS[mime_type]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate, options=defaults | (options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def whole(data: bytes, mime_type: str, rules: SoftTokenRules) -> Patches:
    """The patches of all sampled frames in one."""
    parts = list(video_patches(data, mime_type, rules))
    return replace(parts[0], values_BPC=torch.cat([part.values_BPC for part in parts]))


def all_frames(data: bytes) -> list[Tensor]:
    """Every frame, decoded from the start."""
    with av.open(io.BytesIO(data)) as container:
        return [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def expected_patches(frame_HW3: Tensor, width: int, height: int) -> Tensor:
    """Patches of a frame resized to that many pixels, cut out one by one."""
    pixels_HW3 = F.interpolate(
        frame_HW3.permute(2, 0, 1)[None], (height, width), mode="bicubic", antialias=True, align_corners=False
    )[0].permute(1, 2, 0)
    corners = [(y, x) for y in range(0, height, 16) for x in range(0, width, 16)]
    return torch.stack([pixels_HW3[y : y + 16, x : x + 16].flatten() for y, x in corners]) / 255


@pytest.mark.parametrize("mime_type", KINDS)
@pytest.mark.parametrize("frames", [1, 3, 32, 33, 101])
def test_a_video_is_seen_by_its_sampled_frames(mime_type: str, frames: int) -> None:
    data = movie(mime_type, frames)
    decoded = all_frames(data)
    wanted = video_frames(96, 64, frames, 25, RULES)
    patches = whole(data, mime_type, RULES)
    assert len(patches.values_BPC) == len(wanted.indices)
    assert patches.values_BPC.shape[1] == 9 * wanted.tokens_per_frame
    for values_PC, number in zip(patches.values_BPC, wanted.indices, strict=True):
        expected = expected_patches(decoded[number], 16 * patches.columns, 16 * patches.rows)
        torch.testing.assert_close(values_PC, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"bf": "3", "g": "7"}, {"bf": "0", "g": "1"}, {"bf": "2", "x264opts": "open-gop=1:keyint=9"}]
)
def test_jumping_to_key_frames_finds_the_frames_that_decoding_in_order_finds(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, rules = movie("video/mp4", 80, options=options), replace(RULES, max_frames=5)
    jumped = whole(data, "video/mp4", rules)
    index = replace(index_video(data, "video/mp4"), key_times=())
    monkeypatch.setattr(video_module, "index_video", lambda *_: index)
    assert torch.equal(whole(data, "video/mp4", rules).values_BPC, jumped.values_BPC)
    index = replace(index, times=())
    assert torch.equal(whole(data, "video/mp4", rules).values_BPC, jumped.values_BPC)


def test_a_long_video_is_decoded_only_around_its_sampled_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    data, rules = movie("video/mp4", 300), replace(RULES, max_frames=4)
    advanced = []
    advance = video_module._Frames._advance
    monkeypatch.setattr(video_module._Frames, "_advance", lambda frames: advanced.append(1) or advance(frames))
    whole(data, "video/mp4", rules)
    assert len(advanced) < 4 * 12 + 1


def test_an_index_tells_frames_rate_and_key_frames() -> None:
    index = index_video(movie("video/mp4", 50, rate=30), "video/mp4")
    assert (index.count, index.frames_per_s) == (50, 30)
    assert len(index.times) == 50
    assert 4 < len(index.key_times) < 10


@pytest.mark.parametrize("size", [(64, 48), (640, 360), (50, 400), (336, 480)])
def test_a_frame_is_resized_as_the_counts_say(size: tuple[int, int]) -> None:
    width, height = size
    frame = torch.from_numpy(picture(3, width, height))
    for most in RESOLUTIONS:
        rules = RULES.at(most)
        pixels_3HW = resized_frame(frame, rules)
        tokens = video_frames(width, height, 1, 25, rules).tokens_per_frame
        assert pixels_3HW.shape[1] * pixels_3HW.shape[2] == tokens * 48 * 48
        exact = F.interpolate(
            frame.permute(2, 0, 1)[None],
            pixels_3HW.shape[1:],
            mode="bicubic",
            antialias=True,
            align_corners=False,
        )
        assert torch.equal(pixels_3HW, exact[0])


@pytest.mark.parametrize("tokens", [70, 560, 1120])
def test_frames_come_in_batches_no_larger_than_the_largest_image(tokens: int) -> None:
    rules = replace(RULES.at(tokens), max_frames=18)
    parts = list(video_patches(movie("video/mp4", 20), "video/mp4", rules))
    sizes = [part.values_BPC.shape[:2].numel() for part in parts]
    assert max(sizes) <= 9 * 1120
    assert sum(sizes) == 9 * video_frames(96, 64, 20, 25, rules).tokens


def test_a_video_of_one_key_frame_and_endless_others_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    data = movie("video/mp4", 1500, options={"g": "1000000", "preset": "ultrafast"})
    monkeypatch.setattr(container_module, "MAX_DECODE_S", 0.02)
    started = time.perf_counter()
    with pytest.raises(TookTooLong, match=r"longer than 0\.02 s"):
        whole(data, "video/mp4", RULES)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_a_video_taken_sideways_is_turned_upright(matrix: tuple[int, int, int, int], turns: int) -> None:
    plain = movie("video/mp4", 3)
    a, b, c, d = (value << 16 for value in matrix)
    old, new = (struct.pack(">9i", *m, 0, 0, 0, 1 << 30) for m in ((65536, 0, 0, 0, 65536), (a, b, 0, c, d)))
    head, box, rest = plain.partition(b"tkhd")
    turned = head + box + rest.replace(old, new, 1)
    assert turned != plain
    patches = whole(turned, "video/mp4", RULES)
    upright = all_frames(plain)[0].rot90(turns)
    expected = expected_patches(upright, 16 * patches.columns, 16 * patches.rows)
    assert (patches.columns < patches.rows) is (turns % 2 == 1)
    torch.testing.assert_close(patches.values_BPC[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("data", [b"", b"\0\0\0\x18ftypisom", movie("video/mp4", 5)[:300]])
def test_bytes_that_are_no_video_are_refused(data: bytes) -> None:
    with pytest.raises(UnusableMedia):
        whole(data, "video/mp4", RULES)
