"""Hashes of a prompt's beginnings, cheap enough for every request: 32k tokens in a fraction of a millisecond.

They are taken from the serialised ReplicaRequest, whose token ids lie in it as varints, end to end: prompts that begin
with the same tokens begin with the same bytes. Boundaries are fixed, dense at first and then each an eighth further
than the last, so that the list stays short whatever the prompt's length.

A hash is a sum: of every word, mixed, times a number that belongs to its place. It is not for secrets: a prompt made to
collide with another goes, at worst, where nobody holds its beginning.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

# Of a serialised ReplicaRequest, whose fields are in the order of their numbers.
_REQUEST_ID_TAG, _TOKENS_TAG = 0x0A, 0x12
BLOCK_BYTES = 128
"""Distance of the first boundaries: some 50 tokens of a large vocabulary."""
_MOST_BYTES = 4 * 1024 * 1024
_SAMPLE_BYTES = 64
_WORD_BYTES = 8
# An odd number whose bits look random: that of SplitMix64.
_ODD = np.uint64(0x9E3779B97F4A7C15)
_LEAST_FACTORS_LOG2 = 14


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
    count = bisect_right(_boundaries(), len(prompt))
    if not count:
        return ()
    ends = _boundaries()[:count]
    words = np.frombuffer(prompt[: ends[-1]], "<u8")
    blocks = np.add.reduceat(_mixed(words) * _factors(len(words)), [0, *(end // _WORD_BYTES for end in ends[:-1])])
    for at, sample in _samples(prompt, media) if media else ():
        if at < ends[-1]:
            block = bisect_right(ends, at)
            blocks[block : block + 1] += np.uint64(sample)  # a slice: numpy warns where a scalar overflows
    return tuple(_mixed(np.cumsum(blocks)).tolist())


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


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each word to another, one to one, so that a change of any bit reaches all above it and many below."""
    mixed = words * _ODD
    mixed ^= mixed >> np.uint64(32)
    return mixed


def _factors(count: int) -> NDArray[np.uint64]:
    """A fixed odd number for each place, as if at random; the same in every process."""
    return _all_factors(1 << max(_LEAST_FACTORS_LOG2, (count - 1).bit_length()))[:count]


@cache
def _all_factors(count: int) -> NDArray[np.uint64]:
    numbers = np.arange(1, count + 1, dtype=np.uint64)
    for _ in range(3):
        numbers = _mixed(numbers)
    return numbers | np.uint64(1)


def _samples(prompt: memoryview, media: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, int]]:
    """Where in `prompt` each medium begins, and a hash of where that is and of enough of it to tell it from others."""
    ends_of_tokens = np.flatnonzero(np.frombuffer(prompt, np.uint8) < 0x80)
    for token, data in media:
        at = int(ends_of_tokens[token - 1]) + 1 if 0 < token <= len(ends_of_tokens) else 0
        middle = len(data) // 2
        pieces = (data[:_SAMPLE_BYTES], data[middle : middle + _SAMPLE_BYTES], data[-_SAMPLE_BYTES:])
        digest = blake2b(b"".join((at.to_bytes(8), len(data).to_bytes(8), *pieces)), digest_size=8)
        yield at, int.from_bytes(digest.digest())


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where the next byte is."""
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
