"""The media types we take, and how to tell them by their first bytes."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.media.errors import MediaError
from cluster.request import MediaModality


@dataclass(frozen=True)
class Kind:
    """A media type: its IANA name, its name for people, and the decoder or demuxer that reads it."""

    mime_type: str
    label: str
    modality: MediaModality
    reader: str


_KINDS = (
    Kind("image/png", "PNG image", "image", "PNG"),
    Kind("image/jpeg", "JPEG image", "image", "JPEG"),
    Kind("image/webp", "WebP image", "image", "WEBP"),
    Kind("image/gif", "GIF image", "image", "GIF"),
    Kind("audio/wav", "WAV sound", "audio", "wav"),
    Kind("audio/flac", "FLAC sound", "audio", "flac"),
    Kind("audio/mpeg", "MP3 sound", "audio", "mp3"),
    Kind("audio/ogg", "Ogg sound", "audio", "ogg"),
    Kind("video/mp4", "MP4 video", "video", "mp4"),
    Kind("video/webm", "WebM video", "video", "matroska"),
)
KINDS = {kind.mime_type: kind for kind in _KINDS}
_ALIASES = {
    "image/jpg": "image/jpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/mp3": "audio/mpeg",
    "audio/opus": "audio/ogg",
}


def kind_of(mime_type: str) -> Kind:
    """The kind of a media type as callers write it: any case, parameters, aliases. Raises MediaError."""
    name = mime_type.partition(";")[0].strip().lower()
    kind = KINDS.get(_ALIASES.get(name, name))
    if kind is not None:
        return kind
    problem = "no mime_type is given" if not name else f"mime_type {_shown(mime_type)} is not supported"
    raise MediaError(f"{problem}; use one of {', '.join(KINDS)}")


def check_bytes(data: bytes, kind: Kind) -> None:
    """Raises MediaError if the data are empty or do not begin as this kind does."""
    if not data:
        raise MediaError("the data are empty")
    found = sniff(data)
    if found == kind.mime_type:
        return
    are = found or f"not {kind.mime_type}"
    raise MediaError(f"mime_type says {kind.mime_type}, but the bytes are {are}")


def sniff(data: bytes) -> str | None:
    """The media type that the first bytes speak of, None for one we do not take."""
    for mime_type, starts in _STARTS.items():
        if data.startswith(starts):
            return mime_type
    if data[:4] == b"RIFF":
        return {b"WAVE": "audio/wav", b"WEBP": "image/webp"}.get(data[8:12])
    if data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return None if data[8:11] in _IMAGE_BRANDS else "video/mp4"
    return "audio/mpeg" if _is_mp3_frame(data) else None


_STARTS: dict[str, tuple[bytes, ...]] = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "audio/flac": (b"fLaC",),
    "audio/mpeg": (b"ID3",),
    "audio/ogg": (b"OggS",),
    "video/webm": (b"\x1aE\xdf\xa3",),
}
# HEIC and AVIF are still images in the same box format as MP4.
_IMAGE_BRANDS = (b"hei", b"hev", b"mif", b"msf", b"avi")


def _is_mp3_frame(data: bytes) -> bool:
    # 11 bits of synchronisation, any version, layer III.
    return len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] >> 1 & 3 == 1


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:64] + "…")
