"""One line a task on stderr, which counts on a terminal."""

import sys
import threading
import time
from types import TracebackType


class Progress:
    """Counts to `total`. `advance` may be called from several threads."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._lock = threading.Lock()

    def __enter__(self) -> "Progress":
        self._started = time.monotonic()
        return self

    def advance(self) -> None:
        """One more is done."""
        with self._lock:
            self._done += 1
            if sys.stderr.isatty():
                print(f"\r{self._line()}", end="", file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        start = "\r" if sys.stderr.isatty() else ""
        print(f"{start}{self._line()} ({time.monotonic() - self._started:.0f} s)", file=sys.stderr, flush=True)

    def _line(self) -> str:
        return f"{self._name}: {self._done}/{self._total}"
