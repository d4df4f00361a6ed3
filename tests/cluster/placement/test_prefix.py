"""Hashes tell beginnings apart, and nothing else: not what follows, nor what else is in the request."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.placement.prefix import BLOCK_BYTES, boundary_bytes, pack, packed_prompt, prefix_hashes, unpack
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaRequest, ReplicaSampling

TOKENS = st.lists(st.integers(0, 262_143), max_size=400)


def _payload(tokens: Sequence[int], request_id: str = "r") -> bytes:
    sampling = ReplicaSampling(max_tokens=3)
    return ReplicaRequest(request_id=request_id, prompt_token_ids=tokens, sampling=sampling).SerializeToString()


def _hashes(tokens: Sequence[int], media: Sequence[tuple[int, bytes]] = (), request_id: str = "r") -> tuple[int, ...]:
    return prefix_hashes(packed_prompt(_payload(tokens, request_id)), media)


@given(TOKENS, st.text(max_size=200))
def test_the_prompt_is_found_in_the_payload(tokens: list[int], request_id: str) -> None:
    packed = packed_prompt(_payload(tokens, request_id))
    assert ReplicaRequest.FromString(_field(packed)).prompt_token_ids == tokens


def _field(packed: memoryview) -> bytes:
    """The tokens as the only field of a message."""
    length, digits = len(packed), []
    while length >= 0x80:
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([0x12, *digits, length]) + bytes(packed) if packed else b""


@given(TOKENS, TOKENS, TOKENS)
def test_equal_hashes_are_of_equal_beginnings(common: list[int], left: list[int], right: list[int]) -> None:
    prompts = [bytes(packed_prompt(_payload([*common, *rest]))) for rest in (left, right)]
    hashes = [prefix_hashes(memoryview(prompt)) for prompt in prompts]
    for count, (one, other) in enumerate(zip(*hashes, strict=False), start=1):
        end = boundary_bytes(count)
        assert (one == other) == (prompts[0][:end] == prompts[1][:end])


def test_the_request_id_does_not_count() -> None:
    tokens = list(range(1000))
    assert _hashes(tokens, request_id="") == _hashes(tokens, request_id="another, which is longer")


def test_media_count_from_where_they_begin_and_by_content() -> None:
    tokens = [7] * 1000  # a byte each
    plain, cat, dog = (_hashes(tokens, media) for media in ((), [(300, b"cat" * 99)], [(300, b"dog" * 99)]))
    same = 300 // BLOCK_BYTES
    assert plain[:same] == cat[:same] == dog[:same]
    assert not set(plain[same:]) & set(cat[same:]) | set(cat[same:]) & set(dog[same:])


def test_a_prompt_shorter_than_a_block_has_none() -> None:
    assert _hashes([1] * (BLOCK_BYTES - 1)) == ()
    assert len(_hashes([1] * BLOCK_BYTES)) == 1


@settings(max_examples=20)
@given(st.integers(1, 262_144))
def test_the_list_stays_short_and_boundaries_close(num_bytes: int) -> None:
    hashes = prefix_hashes(memoryview(bytes(num_bytes)))
    assert len(hashes) < 70
    assert num_bytes - boundary_bytes(len(hashes)) < max(BLOCK_BYTES, num_bytes / 8 + 1)


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_hashes_survive_being_packed(hashes: list[int]) -> None:
    assert list(unpack(pack(hashes))) == hashes
