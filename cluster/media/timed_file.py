"""Bytes as a file that refuses to be read after a deadline: it bounds a decoder's loops from outside."""

from __future__ import annotations

import io
import time

from cluster.media.errors import DecodeTimeout


class TimedFile(io.BytesIO):
    """Reads fail with DecodeTimeout once `limit_s` seconds have passed since it was made."""

    def __init__(self, data: bytes, limit_s: float) -> None:
        super().__init__(data)
        self._limit_s = limit_s
        self._deadline = time.monotonic() + limit_s

    def read(self, size: int | None = -1, /) -> bytes:
        self.check_time()
        return super().read(size)

    def check_time(self) -> None:
        """Raises DecodeTimeout after the deadline."""
        if time.monotonic() > self._deadline:
            raise DecodeTimeout(f"decoding takes longer than {self._limit_s:g} s; send something simpler or smaller")
