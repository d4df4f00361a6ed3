"""Video: the first frame is decoded, the others are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av

from cluster.media.container import check_complete, first_stream, opened
from cluster.media.errors import MediaError
from cluster.media.kinds import Kind
from cluster.media.limits import MediaLimits
from cluster.media.mp4 import check_mp4
from model.preprocess.timed_file import TimedFile


@dataclass(frozen=True)
class VideoMeasure:
    """Size of a frame in pixels as seen, number of frames, and frames a second (0: the file does not say)."""

    width: int
    height: int
    frame_count: int
    frames_per_s: float

    @property
    def duration_s(self) -> float:
        return self.frame_count / self.frames_per_s if self.frames_per_s else 0.0


def measure_video(data: bytes, kind: Kind, limits: MediaLimits) -> VideoMeasure:
    """Size, frames and rate of the first video stream. Raises MediaError."""
    if kind.mime_type == "video/mp4":
        check_mp4(data, kind, limits)
    with opened(data, kind, limits) as (container, file):
        stream = first_stream(container, kind, limits)
        _check_size(stream.width, stream.height, limits)
        scan = _Scan(stream, kind, limits)
        try:
            scan.run(container, file)
        except av.error.ArgumentError as error:  # also how a decoder refuses a frame beyond max_pixels
            raise _oversized_or_corrupt(kind, limits) from error
        if scan.first is None:
            raise MediaError(f"the {kind.label} has no frame that can be decoded")
        _check_size(scan.first.width, scan.first.height, limits)
        if scan.packets < stream.frames:
            raise MediaError(f"the {kind.label} is truncated: {scan.packets} of {stream.frames} frames are there")
        check_complete(kind, scan.end_s, container)
        measure = _measure(scan.first, scan.packets, stream)
    if measure.duration_s > limits.max_video_s:
        raise MediaError(
            f"the {kind.label} lasts {measure.duration_s:.0f} s; at most {limits.max_video_s:g} s are taken"
        )
    return measure


class _Scan:
    """One pass over all packets: decodes the stream's until a frame comes, counts the rest."""

    def __init__(self, stream: Any, kind: Kind, limits: MediaLimits) -> None:
        self.first: Any = None
        self.packets = 0
        self.end_s = 0.0
        self._stream = stream
        self._kind, self._limits = kind, limits

    def run(self, container: Any, file: TimedFile) -> None:
        start_s = (container.start_time or 0) / 1e6
        for packet in container.demux():
            file.check_time()
            if packet.dts is not None:
                end = (packet.dts + (packet.duration or 0)) * packet.time_base
                self.end_s = max(self.end_s, float(end) - start_s)
            if packet.stream.index == self._stream.index:
                self._take(packet)

    def _take(self, packet: Any) -> None:
        self.packets += packet.size > 0
        if self.packets > self._limits.max_video_frames:
            most = self._limits.max_video_frames
            raise MediaError(f"the {self._kind.label} has more than {most:,} frames")
        if self.first is None:  # an empty packet at the end flushes the decoder
            self.first = next(iter(packet.decode()), None)


def _measure(first: Any, frame_count: int, stream: Any) -> VideoMeasure:
    rate = stream.average_rate or stream.guessed_rate or 0
    is_sideways = first.rotation % 180 != 0
    width, height = (first.height, first.width) if is_sideways else (first.width, first.height)
    return VideoMeasure(width, height, frame_count, float(rate))


def _oversized_or_corrupt(kind: Kind, limits: MediaLimits) -> MediaError:
    most = limits.max_frame_pixels / 1e6
    return MediaError(f"the {kind.label} is corrupt, or its frames have more than {most:.1f} megapixels")


def _check_size(width: int, height: int, limits: MediaLimits) -> None:
    if width * height > limits.max_frame_pixels:
        most = limits.max_frame_pixels / 1e6
        raise MediaError(f"the video's frames have {width}x{height} pixels; at most {most:.1f} megapixels are taken")
