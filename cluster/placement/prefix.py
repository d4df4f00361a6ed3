"""Hashes of a prompt's beginnings, cheap enough for every request: 32k tokens in a fraction of a millisecond.

They are taken from the serialised ReplicaRequest, whose token ids lie in it as varints, end to end: prompts that begin
with the same tokens begin with the same bytes. Boundaries are fixed, dense at first and then each an eighth further
than the last, so that the list stays short whatever the prompt's length.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b

import numpy as np

# Of a serialised ReplicaRequest, whose fields are in the order of their numbers.
_REQUEST_ID_TAG, _TOKENS_TAG = 0x0A, 0x12
BLOCK_BYTES = 128
"""Distance of the first boundaries: some 50 tokens of a large vocabulary."""
_MOST_BYTES = 4 * 1024 * 1024
_SAMPLE_BYTES = 64


def packed_prompt(payload: bytes) -> memoryview:
    """The prompt's tokens as varints, out of a serialised ReplicaRequest; empty if it has none."""
    view, at = memoryview(payload), 0
    for tag in (_REQUEST_ID_TAG, _TOKENS_TAG):
        if at >= len(view) or view[at] != tag:
            continue
        length, at = _varint(view, at + 1)
        if tag == _TOKENS_TAG:
            return view[at : at + length]
        at += length
    return view[:0]


def prefix_hashes(prompt: memoryview, media: Sequence[tuple[int, bytes]] = ()) -> tuple[int, ...]:
    """A hash, of 64 bits, of the prompt up to each boundary. `media` are (number of the first token, content), in
    order; of the content a sample counts."""
    digest, hashes, start = blake2b(digest_size=8), [], 0
    samples = _samples(prompt, media) if media else iter(())
    sample = next(samples, None)
    for end in _boundaries():
        if end > len(prompt):
            break
        digest.update(prompt[start:end])
        while sample is not None and sample[0] < end:
            digest.update(sample[1])
            sample = next(samples, None)
        hashes.append(int.from_bytes(digest.copy().digest()))
        start = end
    return tuple(hashes)


def boundary_bytes(count: int) -> int:
    """Bytes of a prompt up to its boundary number `count`, from 1 on; 0 for 0."""
    return _boundaries()[count - 1] if count else 0


def pack(hashes: Iterable[int]) -> bytes:
    """Hashes as bytes, 8 each."""
    return array("Q", hashes).tobytes()


def unpack(packed: bytes) -> Sequence[int]:
    """The hashes of `pack`."""
    hashes = array("Q")
    hashes.frombytes(packed)
    return hashes


@cache
def _boundaries() -> tuple[int, ...]:
    ends = [BLOCK_BYTES]
    while ends[-1] < _MOST_BYTES:
        ends.append(ends[-1] + max(1, ends[-1] // (8 * BLOCK_BYTES)) * BLOCK_BYTES)
    return tuple(ends)


def _samples(prompt: memoryview, media: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Where in `prompt` each medium begins, and enough of it to tell it from others."""
    ends_of_tokens = np.flatnonzero(np.frombuffer(prompt, np.uint8) < 0x80)
    for token, data in media:
        at = int(ends_of_tokens[token - 1]) + 1 if 0 < token <= len(ends_of_tokens) else 0
        middle = len(data) // 2
        pieces = (data[:_SAMPLE_BYTES], data[middle : middle + _SAMPLE_BYTES], data[-_SAMPLE_BYTES:])
        yield at, b"".join((len(data).to_bytes(8), *pieces))


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where the next byte is."""
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
