"""Opens sound and video with FFmpeg, so that bytes reach neither other files nor much memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av

from model.preprocess.errors import UnusableMedia
from model.preprocess.timed_file import TimedFile

# If FFmpeg guessed the demuxer, a playlist could make it open other files.
_DEMUXERS = {
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "video/mp4": "mp4",
    "video/webm": "matroska",
}
# A frame may be larger than its container's header says: the decoder itself refuses more than this.
_OPTIONS = {"max_pixels": str(4096 * 2304)}
# Of a video with few key frames nearly all frames have to be decoded.
MAX_DECODE_S = 60.0


@contextmanager
def opened(data: bytes, mime_type: str, kind: str) -> Iterator[tuple[Any, Any, TimedFile]]:
    """The open container, its first stream of that kind ("audio" or "video"), and the file, which has a deadline.

    Raises UnusableMedia, also for whatever fails inside the block.
    """
    file = TimedFile(data, MAX_DECODE_S)
    try:
        demuxer = _DEMUXERS[mime_type]
        with av.open(file, format=demuxer, options=dict(_OPTIONS), metadata_errors="replace") as container:
            stream = next(stream for stream in container.streams if stream.type == kind)
            stream.codec_context.options = dict(_OPTIONS)
            yield container, stream, file
    except UnusableMedia:
        raise
    except Exception as error:  # PyAV raises several unrelated kinds for hostile bytes
        raise UnusableMedia(f"the {mime_type} data cannot be decoded: {error!r}") from error
