"""Which losses count against an answer. Serve's handle is replaced, to lose replicas as planned."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from cluster.errors import ReplicaLost, Unavailable
from cluster.migration import MAX_LOSSES
from cluster.placement.placement import Placement, Tenure
from cluster.replicas import Replicas
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk, ReplicaRequest, ReplicaResult

LOST = ReplicaLost("a shard was lost").to_status().SerializeToString()


class Handle:
    """A Serve handle to the replicas of that name, one request each: after so many chunks it is lost, or never."""

    def __init__(self, *plan: tuple[str, int | None]) -> None:
        self._plan = list(plan)
        self.generate = self

    def options(self, **_: Any) -> Handle:
        return self

    def remote(self, _payload: bytes, placement: Placement) -> Stream:
        name, chunks = self._plan.pop(0)
        placement.tenure = Tenure(name)
        return Stream(chunks)


class Stream:
    """What one replica sends."""

    def __init__(self, chunks: int | None) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        for _ in range(self._chunks or 0):
            yield ReplicaChunk(token_ids=[7]).SerializeToString()
        last = ReplicaChunk(result=ReplicaResult()) if self._chunks is None else ReplicaChunk(error_status=LOST)
        yield last.SerializeToString()

    def cancel(self) -> None:
        """Nothing is left to stop."""


async def migrations(*plan: tuple[str, int | None]) -> int:
    replicas: Any = Replicas("v", Handle(*plan))  # type: ignore[arg-type]
    chunks = [chunk async for chunk in replicas.generate(ReplicaRequest())]
    return int(chunks[-1].result.migrations)


async def test_a_lost_replica_that_is_asked_again_is_no_further_loss() -> None:
    assert await migrations(("a", 1), *[("a", 0)] * (MAX_LOSSES + 1), ("b", None)) == 1


async def test_one_that_answered_again_and_is_lost_again_is() -> None:
    assert await migrations(("a", 1), ("a", 1), ("b", 0), ("c", None)) == 3
    with pytest.raises(Unavailable, match="after 3 others"):
        await migrations(*[("a", 1)] * (MAX_LOSSES + 1))
