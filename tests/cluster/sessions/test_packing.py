"""Packing keeps everything, and equal media once."""

import hashlib

import pytest

from cluster.sessions.packing import MediaLost, has_media, pack, unpack
from protos.gemmacluster.v1.content_pb2 import Blob, Content, FileData, Part
from tests.cluster.sessions.samples import image, rich_turn, text


def test_contents_come_back_as_they_were() -> None:
    turn = rich_turn()
    packed = pack(turn)
    assert list(unpack(packed.contents, packed.media)) == turn


def test_packing_leaves_the_callers_contents_alone() -> None:
    turn = [image(b"pixels")]
    pack(turn)
    assert turn == [image(b"pixels")]


def test_equal_media_are_kept_once() -> None:
    packed = pack([image(b"pixels"), image(b"pixels"), image(b"others")])
    assert packed.media == {hashlib.sha256(data).digest(): data for data in (b"pixels", b"others")}
    assert not any(b"pixels" in content for content in packed.contents)


def test_equal_media_keep_their_resolutions() -> None:
    turn = [
        Content(parts=[Part(inline_data=Blob(mime_type="image/png", data=b"pixels", max_soft_tokens=most))])
        for most in (70, None, 1120)
    ]
    packed = pack(turn)
    assert len(packed.media) == 1
    assert list(unpack(packed.contents, packed.media)) == turn


@pytest.mark.parametrize("data", [b"", b"x", hashlib.sha256(b"pixels").digest()])
def test_media_that_look_like_a_digest_come_back_too(data: bytes) -> None:
    turn = [image(data), image(b"pixels")]
    packed = pack(turn)
    assert list(unpack(packed.contents, packed.media)) == turn


def test_references_by_uri_stay_references() -> None:
    turn = [Content(parts=[Part(file_data=FileData(mime_type="image/png", uri="sha256:00"))])]
    packed = pack(turn)
    assert packed.media == {}
    assert list(unpack(packed.contents, packed.media)) == turn


def test_a_missing_file_is_never_passed_over() -> None:
    with pytest.raises(MediaLost):
        unpack(pack([image(b"pixels")]).contents, {})


def test_has_media_sees_inline_data_only() -> None:
    assert has_media([text("a"), image(b"x")])
    assert has_media([Content(parts=[Part(inline_data=Blob())])])
    assert not has_media([text("a"), Content(parts=[Part(file_data=FileData(uri="u"))])])
