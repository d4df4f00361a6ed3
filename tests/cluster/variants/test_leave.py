"""A replica that leaves: what is new goes elsewhere at once, what runs when the grace is over, what ends is whole."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from google.rpc import status_pb2

from cluster.engines.echo import EchoEngine
from cluster.errors import ReplicaLeaves, error_from_status
from cluster.variants.leave import Leave
from cluster.variants.meter import Meter
from cluster.variants.packing import Pacer
from cluster.variants.replica import EngineReplica
from model.tiny import ensure_tiny
from model.tokenizer import Tokenizer
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk, ReplicaRequest, ReplicaSampling

TOKENIZER = Tokenizer.from_checkpoint(ensure_tiny("e2b"))
REQUEST = ReplicaRequest(
    request_id="r",
    prompt_token_ids=TOKENIZER.encode("one two three four five"),
    sampling=ReplicaSampling(max_tokens=100, top_p=1, repetition_penalty=1),
    max_tokens_per_message=1,
)


class Echo(EngineReplica):
    """A replica that repeats its prompt."""

    _leave: Leave

    def __init__(self, grace_s: float = 0) -> None:
        self._engine, self._leave = EchoEngine(TOKENIZER, delay_s=0.005), Leave(grace_s)
        self._pacer, self._meter = Pacer(), Meter()

    async def leave(self) -> None:
        await self._leave.run(lambda: self._engine.load().running)


async def _chunks(replica: Echo, *, leave_after: int) -> list[ReplicaChunk]:
    chunks = []
    async with aclosing(replica.generate(REQUEST.SerializeToString())) as payloads:
        async for payload in payloads:
            chunks.append(ReplicaChunk.FromString(payload))
            if len(chunks) == leave_after:
                replica._leave._ends_at_s = 0.0
    return chunks


def _error(chunk: ReplicaChunk) -> object:
    return error_from_status(status_pb2.Status.FromString(chunk.error_status))


async def test_what_is_new_goes_elsewhere() -> None:
    replica = Echo(grace_s=100)
    await replica.leave()
    (only,) = await _chunks(replica, leave_after=0)
    assert isinstance(_error(only), ReplicaLeaves)


async def test_what_runs_goes_elsewhere_once_the_grace_is_over() -> None:
    whole = await _chunks(Echo(), leave_after=0)
    *sent, last = await _chunks(Echo(), leave_after=2)
    assert [chunk.responses for chunk in sent] == [chunk.responses for chunk in whole[:2]]
    assert isinstance(_error(last), ReplicaLeaves)


async def test_what_has_ended_is_whole() -> None:
    whole = await _chunks(Echo(), leave_after=0)
    chunks = await _chunks(Echo(), leave_after=len(whole))
    assert len(chunks) == len(whole)
    assert chunks[-1].HasField("result")


async def test_it_has_left_as_soon_as_nothing_runs() -> None:
    replica = Echo(grace_s=100)
    async with aclosing(replica.generate(REQUEST.SerializeToString())) as payloads:
        await anext(payloads)
        leaving = asyncio.create_task(replica.leave())
        await asyncio.sleep(0.1)
        assert not leaving.done()
    await asyncio.wait_for(leaving, 5)
