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
from model.soft_tokens import SoftTokenRules, resized, video_frames
from model.vision.patches import Patches


def video_patches(data: bytes, mime_type: str, rules: SoftTokenRules) -> Patches:
    """The frames of an MP4 or WebM that soft_tokens.video_frames names, each of one row of patches.

    Frames are upright and as large as the first. Raises UnusableMedia.
    """
    index = index_video(data, mime_type)
    with opened(data, mime_type, "video") as (container, stream):
        frames = _Frames(container, stream, index)
        wanted = video_frames(*frames.size, index.count, index.frames_per_s, rules).indices
        parts = [frame_patches(frames.at(number), rules) for number in wanted]
    return Patches(torch.cat([part.values_BPC for part in parts]), parts[0].columns)


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
    with opened(data, mime_type, "video") as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size > 0]
        times = [packet.pts for packet in packets]
        key_times = [packet.pts for packet in packets if packet.is_keyframe]
        rate = float(stream.average_rate or stream.guessed_rate or 0)
    if not packets:
        raise UnusableMedia("the video has no frames")
    if None in times or len(set(times)) < len(times):
        return VideoIndex(len(packets), rate, (), ())
    return VideoIndex(len(packets), rate, tuple(sorted(times)), tuple(sorted(key_times)))


class _Frames:
    """Decodes frames by number, in ascending order; jumps over what lies before a later key frame."""

    def __init__(self, container: Any, stream: Any, index: VideoIndex) -> None:
        self._container, self._stream, self._index = container, stream, index
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
        following = next(self._decoder, None)
        self._frame = following or self._frame
        return following is not None


def frame_patches(pixels_HW3: Tensor, rules: SoftTokenRules) -> Patches:
    """One frame, resized to at most `rules.max_frame_tokens` soft tokens.

    Torch's own bicubic filter for bytes, which transformers takes for videos, and not Pillow's as for images.
    """
    height, width = pixels_HW3.shape[:2]
    columns_px, rows_px = resized(width, height, rules.max_frame_tokens, rules)
    pixels_13HW = pixels_HW3.permute(2, 0, 1)[None]
    if (columns_px, rows_px) != (width, height):
        pixels_13HW = F.interpolate(
            pixels_13HW, size=(rows_px, columns_px), mode="bicubic", align_corners=False, antialias=True
        )
    side = rules.patch_size
    grid = (pixels_13HW[0].float() / 255).reshape(3, rows_px // side, side, columns_px // side, side)
    values_PC = grid.permute(1, 3, 2, 4, 0).reshape(-1, side * side * 3)
    return Patches(values_PC[None], columns_px // side)
