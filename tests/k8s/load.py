"""Callers whose calls must not be dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cluster.client import Client
from tests.cluster.gateway.local_gateway import SMALL

CALLERS, WORDS = 4, "one two three four five six seven eight"
# Of a session: its prompts grow.
_TURNS = 10
_TIMEOUT_S = 30.0


class Load:
    """Callers that ask, one answer after the other, until they are told to stop; what went wrong is kept."""

    def __init__(self, address: str, *, in_sessions: bool = False) -> None:
        """`in_sessions` gives each caller a session for some turns, in which every answer must be the next one."""
        self._address, self._in_sessions = address, in_sessions
        self._stopped = threading.Event()
        self.answers: list[str] = []
        self.failures: list[str] = []

    def __enter__(self) -> Load:
        self._pool = ThreadPoolExecutor(CALLERS)
        self._callers = [self._pool.submit(self._call) for _ in range(CALLERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for caller in self._callers:
            caller.result(2 * _TIMEOUT_S)
        self._pool.shutdown()

    def _call(self) -> None:
        with Client(self._address, timeout_s=_TIMEOUT_S, retries=4) as client:
            while not self._stopped.is_set():
                try:
                    self._converse(client)
                except Exception as error:  # whatever it is, a caller would have seen it
                    self.failures.append(f"{type(error).__name__}: {error}")

    def _converse(self, client: Client) -> None:
        session = client.create_session().session_id if self._in_sessions else ""
        for turn in range(1, _TURNS + 1):
            pieces = list(client.stream(WORDS, model=SMALL, session=session, max_output_tokens=64))
            assert not session or pieces[-1].response.session.turns == turn
            self.answers.append("".join(piece.text for piece in pieces))
            if self._stopped.is_set():
                return

    def goes_on(self, answers: int = 2 * CALLERS) -> None:
        """Returns once there are that many more answers."""
        wanted = len(self.answers) + answers
        self.until(lambda: len(self.answers) >= wanted)

    def until(self, happened: Callable[[], bool]) -> None:
        """Waits for it, under load."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not happened():
            assert time.monotonic() < deadline, self.failures[:3]
            time.sleep(0.01)
