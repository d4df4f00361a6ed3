"""Opens sound and video with FFmpeg, so that hostile bytes reach neither other files nor much memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av

from cluster.media.errors import DecodeTimeout, MediaError, undecodable
from cluster.media.kinds import Kind
from cluster.media.limits import MediaLimits
from model.preprocess.errors import TookTooLong
from model.preprocess.timed_file import TimedFile

_CODECS = {
    "audio": {"flac", "mp3", "opus", "vorbis"},
    "video": {"av1", "h264", "hevc", "mpeg4", "vp8", "vp9"},
}


@contextmanager
def opened(data: bytes, kind: Kind, limits: MediaLimits) -> Iterator[tuple[Any, TimedFile]]:
    """The open container, and the file it reads. Errors inside the block come out as MediaError."""
    file = TimedFile(data, limits.max_decode_s)
    try:
        # The demuxer is named: if FFmpeg guessed, a playlist could make it open other files.
        with av.open(file, format=kind.reader, options=_options(limits), metadata_errors="replace") as container:
            yield container, file
    except MediaError:
        raise
    except TookTooLong as error:
        raise DecodeTimeout(str(error)) from error
    except Exception as error:  # PyAV raises several unrelated kinds for hostile bytes
        raise undecodable(kind.label, error) from error


def first_stream(container: Any, kind: Kind, limits: MediaLimits) -> Any:
    """The first stream of the kind's modality, ready to decode on one thread. Raises MediaError."""
    if not len(container.streams):
        raise MediaError(f"the {kind.label} is truncated or corrupt (no stream in it)")
    streams = container.streams.audio if kind.modality == "audio" else container.streams.video
    if not streams:
        raise MediaError(f"the {kind.label} has no {kind.modality} stream")
    stream = streams[0]
    context = stream.codec_context
    codec = context.codec.canonical_name if context is not None else "unknown"
    if codec not in _CODECS[kind.modality] and not codec.startswith("pcm_"):
        known = ", ".join(sorted(_CODECS[kind.modality]))
        raise MediaError(f"the {kind.label} is encoded as {codec}, which is not supported; use one of {known}")
    context.options = _options(limits)
    context.thread_count = 1
    return stream


def check_complete(kind: Kind, end_s: float, container: Any) -> None:
    """Raises MediaError if the header promises clearly more than the `end_s` seconds that are there."""
    promised_s = (container.duration or 0) / av.time_base
    if end_s < promised_s - max(0.2, 0.02 * promised_s):
        raise MediaError(
            f"the {kind.label} is truncated: its header promises {promised_s:.1f} s, {end_s:.1f} s are there"
        )


def _options(limits: MediaLimits) -> dict[str, str]:
    # A frame may be larger than its container's header says; the decoder itself must refuse it.
    return {"max_pixels": str(limits.max_frame_pixels), "threads": "1"}
