"""Contents as Redis keeps them: serialised protos whose media bytes are replaced by their SHA-256.

Every inline_data is replaced, however small: a packed `data` field is always a digest, and restoring needs no mark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from protos.gemmacluster.v1.content_pb2 import Content


class MediaLost(Exception):
    """A turn refers to media that are not there."""


@dataclass(frozen=True)
class PackedContents:
    """Serialised contents, and the media they refer to by SHA-256 digest."""

    contents: tuple[bytes, ...]
    media: Mapping[bytes, bytes]


def pack(contents: Iterable[Content]) -> PackedContents:
    """Packs contents for storage; equal media are kept once. Hashes all media, so large ones take time."""
    media: dict[bytes, bytes] = {}
    return PackedContents(tuple(_pack(content, media) for content in contents), media)


def unpack(packed: Sequence[bytes], media: Mapping[bytes, bytes]) -> tuple[Content, ...]:
    """The contents as they were. Raises MediaLost when one refers to missing media."""
    return tuple(_unpack(item, media) for item in packed)


def has_media(contents: Iterable[Content]) -> bool:
    """True when any part holds inline media."""
    return any(part.HasField("inline_data") for content in contents for part in content.parts)


def _pack(content: Content, media: dict[bytes, bytes]) -> bytes:
    packed = Content()
    packed.CopyFrom(content)
    for part in packed.parts:
        if part.HasField("inline_data"):
            digest = hashlib.sha256(part.inline_data.data).digest()
            media[digest] = part.inline_data.data
            part.inline_data.data = digest
    return bytes(packed.SerializeToString())


def _unpack(packed: bytes, media: Mapping[bytes, bytes]) -> Content:
    content = Content.FromString(packed)
    for part in content.parts:
        if part.HasField("inline_data"):
            try:
                part.inline_data.data = media[part.inline_data.data]
            except KeyError as error:
                raise MediaLost(part.inline_data.data.hex()) from error
    return content
