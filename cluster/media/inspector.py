"""Checks media in a small pool of threads and remembers the verdicts by content hash."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from cluster.errors import FieldViolation, InvalidRequest
from cluster.media.audio import measure_audio
from cluster.media.errors import DecodeTimeout, MediaError
from cluster.media.image import measure_image
from cluster.media.kinds import Kind, check_bytes, kind_of
from cluster.media.limits import MediaLimits
from cluster.media.video import measure_video
from cluster.request import MediaInfo
from protos.gemmacluster.v1.content_pb2 import Blob, Content

_THREADS = 2


class Inspector:
    """Turns media bytes into MediaInfo. Safe to use from several threads and event loops."""

    def __init__(self, limits: MediaLimits | None = None, remembered: int = 4096) -> None:
        self._limits = limits or MediaLimits()
        self._remembered = remembered
        self._verdicts: OrderedDict[tuple[str, str], MediaInfo | str] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="media")

    def inspect_media(self, data: bytes, mime_type: str) -> MediaInfo:
        """Decodes here and now, or answers from memory. Raises MediaError."""
        kind = kind_of(mime_type)
        key = (hashlib.sha256(data).hexdigest(), kind.mime_type)
        verdict = self._recall(key)
        if verdict is None:
            verdict = self._judge(data, kind, key[0])
            self._remember(key, verdict)
        if isinstance(verdict, str):
            raise MediaError(verdict)
        return verdict

    async def inspect(self, blob: Blob, field: str) -> MediaInfo:
        """Decodes in the pool. Raises InvalidRequest that names `field`."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self.inspect_media, blob.data, blob.mime_type)
        except MediaError as error:
            raise InvalidRequest.of(field, str(error)) from error

    async def inspect_contents(self, contents: Iterable[Content], field: str = "contents") -> dict[str, MediaInfo]:
        """All media of a conversation by content hash. Raises InvalidRequest that names each bad part."""
        blobs = {
            f"{field}[{i}].parts[{j}].inline_data": part.inline_data
            for i, content in enumerate(contents)
            for j, part in enumerate(content.parts)
            if part.WhichOneof("data") == "inline_data"
        }
        tasks = [self.inspect(blob, name) for name, blob in blobs.items()]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        infos, violations = _sort_out(outcomes)
        if violations:
            raise InvalidRequest(violations)
        return {info.sha256: info for info in infos}

    def _judge(self, data: bytes, kind: Kind, sha256: str) -> MediaInfo | str:
        try:
            check_bytes(data, kind)
            return _measure(data, kind, sha256, self._limits)
        except DecodeTimeout:  # next time the machine may be less busy
            raise
        except MediaError as error:
            return str(error)

    def _recall(self, key: tuple[str, str]) -> MediaInfo | str | None:
        with self._lock:
            if key in self._verdicts:
                self._verdicts.move_to_end(key)
            return self._verdicts.get(key)

    def _remember(self, key: tuple[str, str], verdict: MediaInfo | str) -> None:
        with self._lock:
            self._verdicts[key] = verdict
            if len(self._verdicts) > self._remembered:
                self._verdicts.popitem(last=False)


def _measure(data: bytes, kind: Kind, sha256: str, limits: MediaLimits) -> MediaInfo:
    if kind.modality == "image":
        width, height = measure_image(data, kind, limits)
        return MediaInfo("image", kind.mime_type, sha256, width, height)
    if kind.modality == "audio":
        duration_s = measure_audio(data, kind, limits)
        return MediaInfo("audio", kind.mime_type, sha256, duration_s=duration_s)
    video = measure_video(data, kind, limits)
    return MediaInfo(
        "video",
        kind.mime_type,
        sha256,
        video.width,
        video.height,
        video.duration_s,
        video.frame_count,
        video.frames_per_s,
    )


def _sort_out(
    outcomes: Iterable[MediaInfo | BaseException],
) -> tuple[list[MediaInfo], list[FieldViolation]]:
    infos, violations = [], []
    for outcome in outcomes:
        if isinstance(outcome, InvalidRequest):
            violations += outcome.violations
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            infos.append(outcome)
    return infos, violations


_default = Inspector()
inspect_media = _default.inspect_media
inspect = _default.inspect
inspect_contents = _default.inspect_contents
