"""MP4 files, looked at before FFmpeg opens them: cut short, or promising more than would fit in memory?

An MP4 is a row of boxes: 4 bytes of size (1: 8 more bytes have it, 0: to the end), 4 of type, the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cluster.media.errors import MediaError
from cluster.media.kinds import Kind
from cluster.media.limits import MediaLimits

_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide")
# Where the number of samples stands, in bytes behind the type: a table of sizes, or a fragment's run.
_COUNTS = {b"stsz": 8, b"stz2": 8, b"trun": 4}
_COUNTED = re.compile(b"stsz|stz2|trun")
_COUNT_OF_EDITS = 4


def check_mp4(data: bytes, kind: Kind, limits: MediaLimits) -> None:
    """Raises MediaError. Types are looked for wherever they stand outside of the frames' own bytes (mdat): a
    hostile file may nest boxes in any way that FFmpeg follows."""
    headers = b"".join(_without_frames(data, kind))
    if b"cmov" in headers:
        raise MediaError(f"the {kind.label} has a compressed header, which is not supported")
    samples = sum(_number(headers, found.end() + _COUNTS[found.group()]) for found in _COUNTED.finditer(headers))
    edits = sum(_number(headers, found.end() + _COUNT_OF_EDITS) for found in re.finditer(b"elst", headers))
    if samples * max(1, edits) > limits.max_mp4_samples:
        promised = f"{samples:,} samples" + (f" in {edits:,} edits" if edits > 1 else "")
        raise MediaError(f"the {kind.label} promises {promised}; at most {limits.max_mp4_samples:,} are taken")


def _without_frames(data: bytes, kind: Kind) -> Iterator[bytes]:
    """The top-level boxes but mdat, and whatever follows them. Raises MediaError if the last box is cut short."""
    start = 0
    while start + 8 <= len(data):
        size, name = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        if name not in _BOXES or size < 8:
            break
        if name != b"mdat":
            yield data[start : start + size]
        start += size
    if start > len(data):
        raise MediaError(f"the {kind.label} is truncated: at least {start} bytes are promised, {len(data)} are there")
    yield data[start:]


def _number(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 4], "big")
