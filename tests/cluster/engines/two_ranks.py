"""Two ranks of the tiny mixture of experts: one for an engine here, the other a process without requests."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from model.runtime.gang import GangConfig, GangSeat, open_store
from model.tiny.checkpoint import ensure_tiny
from tests.model.ranks import CONTEXT
from tests.model.runtime.gang_ranks import serve


class TwoRanks:
    """`path` is the checkpoint of both, `seat` this process's."""

    def __init__(self) -> None:
        self.path = ensure_tiny("26b-a4b")
        self._store = open_store("127.0.0.1")
        self.seat, seat = (GangSeat(GangConfig(rank, 2), ("127.0.0.1", self._store.port)) for rank in range(2))
        self._pipe, theirs = CONTEXT.Pipe()
        self._other = CONTEXT.Process(target=serve, args=(theirs, self.path, seat, {}), daemon=True)
        self._other.start()

    def kill(self) -> None:
        """The other rank is gone."""
        self._other.kill()
        self._other.join()
        self._pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
