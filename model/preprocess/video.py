"""Videos to the patches of their sampled frames, as transformers' Gemma4VideoProcessor makes them.

Shapes: B frames, H and W pixels, P patches, C numbers in a patch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.preprocess.container import opened
from model.preprocess.errors import UnusableMedia
from model.preprocess.timed_file import TimedFile
from model.soft_tokens import SoftTokenRules, resized, video_frames
from model.vision.patches import Patches

# As many as the largest image has: frames that are encoded together take no more memory than that.
_MAX_BATCH_PATCHES = 9 * 1120


def video_patches(data: bytes, mime_type: str, rules: SoftTokenRules) -> Iterator[Patches]:
    """The frames of an MP4 or WebM that soft_tokens.video_frames names, a few at a time, each of one row of patches.

    Frames are upright and as large as the first. Raises UnusableMedia, before anything is yielded.
    """
    frames = sampled_frames(data, mime_type, rules)
    num_patches = frames[0].shape[1] * frames[0].shape[2] // rules.patch_size**2
    batch_size = max(1, _MAX_BATCH_PATCHES // num_patches)
    for start in range(0, len(frames), batch_size):
        yield _patches(torch.stack(frames[start : start + batch_size]), rules.patch_size)


def sampled_frames(data: bytes, mime_type: str, rules: SoftTokenRules) -> list[Tensor]:
    """Those frames, resized to at most `rules.max_frame_tokens` soft tokens: uint8 [3, H, W] each."""
    index = index_video(data, mime_type)
    with opened(data, mime_type, "video") as (container, stream, file):
        frames = _Frames(container, stream, file, index)
        wanted = video_frames(*frames.size, index.count, index.frames_per_s, rules).indices
        return [resized_frame(frames.at(number), rules) for number in wanted]


@dataclass(frozen=True)
class VideoIndex:
    """The video stream's packets, a frame each: how many, their times in order, and those one can start at.

    Times are in the stream's unit, and empty if some packet has none; `frames_per_s` is 0 if unknown.
    """

    count: int
    frames_per_s: float
    times: tuple[int, ...]
    key_times: tuple[int, ...]


def index_video(data: bytes, mime_type: str) -> VideoIndex:
    """Reads all packets and decodes none. Raises UnusableMedia, also for a video without frames."""
    times, key_times = [], []
    with opened(data, mime_type, "video") as (container, stream, file):
        for packet in container.demux(stream):
            file.check_time()
            if packet.size > 0:
                times.append(packet.pts)
                key_times += [packet.pts] if packet.is_keyframe else []
        rate = float(stream.average_rate or stream.guessed_rate or 0)
    if not times:
        raise UnusableMedia("the video has no frames")
    if None in times or len(set(times)) < len(times):
        return VideoIndex(len(times), rate, (), ())
    return VideoIndex(len(times), rate, tuple(sorted(times)), tuple(sorted(key_times)))


class _Frames:
    """Decodes frames by number, in ascending order; jumps over what lies before a later key frame."""

    def __init__(self, container: Any, stream: Any, file: TimedFile, index: VideoIndex) -> None:
        self._container, self._stream, self._file, self._index = container, stream, file, index
        self._decoder: Iterator[Any] = container.decode(stream)
        self._number = 0
        self._frame: Any = next(self._decoder, None)
        if self._frame is None:
            raise UnusableMedia("the video has no frame that can be decoded")
        self._raw_size = (self._frame.width, self._frame.height)
        # Quarter turns, counterclockwise, that make a frame upright.
        self._turns: int = round(self._frame.rotation / 90) % 4

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of an upright frame."""
        width, height = self._raw_size
        return (height, width) if self._turns % 2 else (width, height)

    def at(self, number: int) -> Tensor:
        """Frame `number`, uint8 [H, W, 3]; the last one there is if fewer can be decoded."""
        (self._by_time if self._index.times else self._by_count)(number)
        width, height = self._raw_size
        pixels_HW3 = self._frame.to_ndarray(format="rgb24", width=width, height=height)
        return torch.from_numpy(np.ascontiguousarray(np.rot90(pixels_HW3, self._turns)))

    def _by_time(self, number: int) -> None:
        time = self._index.times[number]
        starts = [start for start in self._index.key_times if self._now < start <= time]
        if starts:
            self._container.seek(starts[-1], stream=self._stream)
            self._decoder = self._container.decode(self._stream)
            self._advance()
        while self._now < time and self._advance():
            pass

    def _by_count(self, number: int) -> None:
        while self._number < number and self._advance():
            self._number += 1

    @property
    def _now(self) -> int:
        time: int = self._frame.pts or 0
        return time

    def _advance(self) -> bool:
        self._file.check_time()
        following = next(self._decoder, None)
        self._frame = following or self._frame
        return following is not None


def resized_frame(pixels_HW3: Tensor, rules: SoftTokenRules) -> Tensor:
    """One frame, resized to at most `rules.max_frame_tokens` soft tokens: uint8 [3, H, W].

    Torch's own bicubic filter for bytes, which transformers takes for videos, and not Pillow's as for images.
    """
    height, width = pixels_HW3.shape[:2]
    columns_px, rows_px = resized(width, height, rules.max_frame_tokens, rules)
    pixels_3HW = pixels_HW3.permute(2, 0, 1)
    if (columns_px, rows_px) == (width, height):
        return pixels_3HW
    size = (rows_px, columns_px)
    return F.interpolate(pixels_3HW[None], size=size, mode="bicubic", align_corners=False, antialias=True)[0]


def _patches(pixels_B3HW: Tensor, side: int) -> Patches:
    """Frames of one size, cut into patches."""
    count, _, height, width = pixels_B3HW.shape
    grid = (pixels_B3HW.float() / 255).reshape(count, 3, height // side, side, width // side, side)
    values_BPC = grid.permute(0, 2, 4, 3, 5, 1).reshape(count, -1, side * side * 3)
    return Patches(values_BPC, width // side)
