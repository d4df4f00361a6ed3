"""Which losses count against an answer. Serve's handle is replaced, to lose replicas as planned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ray.serve.exceptions import RequestCancelledError

from cluster.errors import ReplicaLost, Unavailable
from cluster.migration import MAX_LOSSES
from cluster.placement.placement import Placement
from cluster.placement.tenure import Tenure
from cluster.replicas import Replicas
from cluster.tracing import start_tracing, stop_tracing
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk, ReplicaRequest, ReplicaResult

SILENT = -1
"""Chunks of one that sends one and then nothing."""
LOST = ReplicaLost("a shard was lost").to_status().SerializeToString()


class Handle:
    """A Serve handle to the replicas of that name, one request each: after so many chunks it is lost, or never."""

    def __init__(self, *plan: tuple[str, int | None]) -> None:
        self._plan = list(plan)
        self.generate = self
        self.requests: list[ReplicaRequest] = []
        self.silent = Tenure("silent")

    def options(self, **_: Any) -> Handle:
        return self

    def remote(self, payload: bytes, placement: Placement) -> Stream:
        self.requests.append(ReplicaRequest.FromString(payload))
        name, chunks = self._plan.pop(0)
        placement.at(Tenure(name) if chunks != SILENT else self.silent)
        return Stream(chunks)


class Stream:
    """What one replica sends."""

    def __init__(self, chunks: int | None) -> None:
        self._chunks = chunks
        self._is_cancelled = asyncio.Event()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        if self._chunks == SILENT:
            yield ReplicaChunk(token_ids=[7]).SerializeToString()
            await self._is_cancelled.wait()
            raise RequestCancelledError("r")
        for _ in range(self._chunks or 0):
            yield ReplicaChunk(token_ids=[7]).SerializeToString()
        last = ReplicaChunk(result=ReplicaResult()) if self._chunks is None else ReplicaChunk(error_status=LOST)
        yield last.SerializeToString()

    def cancel(self) -> None:
        """What is read next is an error, as of Serve's."""
        self._is_cancelled.set()


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


async def test_an_answer_whose_replica_is_silent_goes_on_on_another() -> None:
    handle = Handle(("silent", SILENT), ("b", None))
    replicas: Any = Replicas("v", handle)  # type: ignore[arg-type]
    chunks = replicas.generate(ReplicaRequest())
    await anext(chunks)
    rest = asyncio.create_task(anext(chunks))
    await asyncio.sleep(0.01)
    assert (rest.done(), len(handle.silent.held)) == (False, 1)
    handle.silent.give_up()
    assert (await rest).result.migrations == 1
    assert not handle.silent.held
    assert list(handle.requests[1].progress.token_ids) == [7]


async def test_a_caller_that_gives_up_leaves_nothing_at_its_replica() -> None:
    handle = Handle(("silent", SILENT))
    replicas: Any = Replicas("v", handle)  # type: ignore[arg-type]
    chunks = replicas.generate(ReplicaRequest())
    await anext(chunks)
    await chunks.aclose()
    assert (handle.silent.held, replicas.in_flight) == ({}, 0)


async def test_each_replica_that_is_asked_gets_a_span_of_the_trace() -> None:
    exporter, handle = InMemorySpanExporter(), Handle(("a", 1), ("b", None))
    start_tracing(exporter)
    replicas: Any = Replicas("v", handle)  # type: ignore[arg-type]
    assert len([chunk async for chunk in replicas.generate(ReplicaRequest())]) == 2
    stop_tracing()
    lost, well = exporter.get_finished_spans()
    assert (lost.name, well.name) == ("replica v", "replica v")
    assert lost.attributes is not None
    assert lost.attributes["error.type"] == ReplicaLost.reason
    carried = [request.traceparent.split("-")[2] for request in handle.requests]
    assert carried == [f"{span.context.span_id:016x}" for span in (lost, well) if span.context]
