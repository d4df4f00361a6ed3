"""Laws of migration, over the real replica: what a caller gets does not tell where an answer was computed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from cluster import migration
from cluster.engines.echo import EchoEngine
from cluster.errors import (
    ClusterError,
    InvalidRequest,
    NotSupported,
    Overloaded,
    ReplicaLeaves,
    ReplicaLost,
    Unavailable,
)
from cluster.migration import MAX_LOSSES, Chunks, migrating
from cluster.variants.meter import Meter
from cluster.variants.packing import Pacer
from cluster.variants.replica import EngineReplica
from model.tiny import ensure_tiny
from model.tokenizer import Tokenizer
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk, ReplicaRequest, ReplicaResult, ReplicaSampling
from protos.gemmacluster.v1.generation_pb2 import StreamGenerateResponse

pytestmark = pytest.mark.usefixtures("bursts_in_pieces")
TOKENIZER = Tokenizer.from_checkpoint(ensure_tiny("e2b"))
TEXT = "one two naïve 日本語 😀 three. four STOP five"


class Echo(EngineReplica):
    """A replica that repeats its prompt."""

    def __init__(self) -> None:
        self._engine, self._pacer, self._meter = EchoEngine(TOKENIZER), Pacer(), Meter()


class Replicas:
    """Replicas that are lost as planned: the n-th after `cuts[n]` chunks, or at once with an error."""

    def __init__(self, *cuts: int | ClusterError) -> None:
        self._cuts = list(cuts)
        self.requests: list[ReplicaRequest] = []

    async def attempt(self, request: ReplicaRequest) -> AsyncGenerator[ReplicaChunk, None]:
        """Ends as planned."""
        self.requests.append(request)
        cut = self._cuts.pop(0) if self._cuts else 1_000
        if isinstance(cut, ClusterError):
            raise cut
        async with aclosing(Echo().generate(request.SerializeToString())) as payloads:
            async for payload in payloads:
                if cut == 0:
                    raise ReplicaLost("killed")
                cut -= 1
                yield ReplicaChunk.FromString(payload)


def _request(stop: tuple[str, ...] = ()) -> ReplicaRequest:
    sampling = ReplicaSampling(max_tokens=100, top_p=1, repetition_penalty=1, stop=stop)
    return ReplicaRequest(
        request_id="r", prompt_token_ids=TOKENIZER.encode(TEXT), sampling=sampling, max_tokens_per_message=1
    )


async def _answer(chunks: Chunks) -> tuple[list[StreamGenerateResponse], ReplicaResult]:
    responses, last = [], ReplicaChunk()
    async for last in chunks:
        responses += [StreamGenerateResponse.FromString(item) for item in last.responses]
    return responses, last.result


@pytest.mark.parametrize("stop", [(), ("four STOP",), ("e. four", "OP five x")])
@pytest.mark.parametrize("cuts", [(0,), (1,), (5,), (13,), (2, 0, 7), (1, 1, 1)])
async def test_an_answer_is_the_same_wherever_replicas_are_lost(cuts: tuple[int, ...], stop: tuple[str, ...]) -> None:
    expected, whole = await _answer(migrating(Replicas().attempt, _request(stop)))
    found, result = await _answer(migrating(Replicas(*cuts).attempt, _request(stop)))
    assert found == expected
    assert [item.chunk_index for item in found] == list(range(len(found)))
    assert result.migrations == len(cuts)
    result.ClearField("migrations")
    assert result == whole


async def test_what_is_sent_again_is_the_prompt_and_the_tokens_so_far() -> None:
    replicas = Replicas(3)
    await _answer(migrating(replicas.attempt, _request()))
    first, second = replicas.requests
    assert second.progress.token_ids == first.prompt_token_ids[:3]
    assert second.progress.next_chunk_index == 3
    second.ClearField("progress")
    assert second == first


async def test_an_answer_that_loses_every_replica_ends_unavailable() -> None:
    """It may be the answer that kills them."""
    replicas = Replicas(*[1] * 10)
    with pytest.raises(Unavailable, match="killed, after 3 others") as caught:
        await _answer(migrating(replicas.attempt, _request()))
    assert type(caught.value) is Unavailable
    assert caught.value.retry_after_s > 0
    assert len(replicas.requests) == 1 + MAX_LOSSES


async def test_replicas_that_leave_are_not_counted_as_lost() -> None:
    replicas = Replicas(*[ReplicaLeaves("drained")] * (MAX_LOSSES + 2), 1)
    assert (await _answer(migrating(replicas.attempt, _request())))[1].migrations == MAX_LOSSES + 3


async def test_a_replica_that_is_lost_after_the_last_chunk_is_not_missed() -> None:
    async def attempt(request: ReplicaRequest) -> AsyncGenerator[ReplicaChunk, None]:
        async for chunk in Replicas().attempt(request):
            yield chunk
        raise ReplicaLost("killed")

    assert (await _answer(migrating(attempt, _request())))[1].migrations == 0


@pytest.mark.parametrize("error", [Overloaded("full"), Unavailable("loading")])
async def test_replicas_that_are_full_or_away_are_asked_again(error: ClusterError) -> None:
    replicas = Replicas(2, error, error)
    _, result = await _answer(migrating(replicas.attempt, _request()))
    assert (len(replicas.requests), result.migrations) == (4, 1)


async def test_when_nobody_goes_on_in_time_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "PATIENCE_S", 0.1)
    with pytest.raises(Unavailable, match=r"none went on within 0\.1 s"):
        await _answer(migrating(Replicas(2, *[Overloaded("full")] * 100).attempt, _request()))


async def test_an_engine_that_cannot_go_on_exactly_says_so() -> None:
    with pytest.raises(Unavailable, match="no grammar"):
        await _answer(migrating(Replicas(2, NotSupported("no grammar")).attempt, _request()))


@pytest.mark.parametrize("error", [InvalidRequest.of("x", "bad"), ClusterError("bug"), Overloaded("full")])
async def test_the_requests_own_errors_move_nothing(error: ClusterError) -> None:
    replicas = Replicas(error)
    with pytest.raises(type(error)):
        await _answer(migrating(replicas.attempt, _request()))
    assert len(replicas.requests) == 1
