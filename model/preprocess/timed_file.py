"""Bytes as a file that refuses to be read after a deadline: it bounds a decoder's loops from outside."""

from __future__ import annotations

import io
import time

from model.preprocess.errors import TookTooLong


class TimedFile(io.BytesIO):
    """Reads fail with TookTooLong once `limit_s` seconds have passed since it was made."""

    def __init__(self, data: bytes, limit_s: float) -> None:
        super().__init__(data)
        self._limit_s = limit_s
        self._deadline = time.monotonic() + limit_s

    def read(self, size: int | None = -1, /) -> bytes:
        self.check_time()
        return super().read(size)

    def check_time(self) -> None:
        """Raises TookTooLong after the deadline."""
        if time.monotonic() > self._deadline:
            raise TookTooLong(f"decoding takes longer than {self._limit_s:g} s; send something simpler or smaller")
