"""The native engine as one rank of a gang, whose other rank is a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cluster.config import VariantConfig
from cluster.engines.base import EngineOutput, EngineRequest
from cluster.engines.build import build_engine
from cluster.engines.native import NativeEngine
from cluster.errors import ClusterError, Unavailable
from model.runtime.sampling import SamplingParams
from model.tiny.checkpoint import ensure_tiny
from tests.cluster.engines.two_ranks import TwoRanks

CONTEXT_TOKENS = 512


@asynccontextmanager
async def _engine(ranks: TwoRanks | None) -> AsyncIterator[NativeEngine]:
    """One of two ranks, or alone."""
    config = VariantConfig(num_threads=1, dtype="float32")
    seat = None if ranks is None else ranks.seat
    engine = build_engine(ensure_tiny("26b-a4b"), config, CONTEXT_TOKENS, seat)
    assert isinstance(engine, NativeEngine)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


def _request(max_tokens: int, first: int = 5) -> EngineRequest:
    tokens = list(range(first, first + 20))
    return EngineRequest("r", tokens, SamplingParams(max_tokens, temperature=0, ignore_eos=True))


async def _text(engine: NativeEngine, request: EngineRequest) -> str:
    return "".join([output.text async for output in engine.generate(request)])


async def _last(outputs: AsyncIterator[EngineOutput]) -> None:
    async for _ in outputs:
        pass


async def test_a_rank_answers_as_the_whole_and_holds_its_share() -> None:
    texts, held = [], []
    with TwoRanks() as two:
        for ranks in (None, two):
            async with _engine(ranks) as engine:
                requests = [_request(9, first) for first in (300, 330, 360)]
                texts.append(await asyncio.gather(*(_text(engine, request) for request in requests)))
                held.append(engine.load().details["expert_bytes"])
    assert texts[0] == texts[1]
    assert held[1] == held[0] / 2 > 0


async def test_when_another_rank_dies_answers_end_unavailable_and_the_engine_is_unhealthy() -> None:
    with TwoRanks() as ranks:
        async with _engine(ranks) as engine:
            outputs = engine.generate(_request(450))
            await anext(outputs)
            await engine.check_health()
            ranks.kill()
            with pytest.raises(Unavailable, match="shard"):
                await _last(outputs)
            assert engine._loop is not None
            await asyncio.to_thread(engine._loop.stop)  # it ends by itself
            with pytest.raises(ClusterError, match="thread"):
                await engine.check_health()
            with pytest.raises(Unavailable):
                await _text(engine, _request(1))
