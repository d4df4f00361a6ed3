"""The native engine as one rank of a gang, whose other rank is a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from cluster.config import VariantConfig
from cluster.engines.base import EngineOutput, EngineRequest
from cluster.engines.build import build_engine
from cluster.engines.native import NativeEngine
from cluster.errors import ClusterError, Unavailable
from model.runtime.gang import GangConfig, GangSeat, open_store
from model.runtime.sampling import SamplingParams
from model.tiny.checkpoint import ensure_tiny
from tests.model.ranks import CONTEXT
from tests.model.runtime.gang_ranks import serve

CONTEXT_TOKENS = 512


@asynccontextmanager
async def _engine(num_ranks: int) -> AsyncIterator[tuple[NativeEngine, list[BaseProcess]]]:
    """Rank 0 here, the others elsewhere, without requests of their own."""
    path = ensure_tiny("26b-a4b")
    store = open_store("127.0.0.1")
    seats = [GangSeat(GangConfig(rank, num_ranks), ("127.0.0.1", store.port)) for rank in range(num_ranks)]
    others = [_start(path, seat) for seat in seats[1:]]
    config = VariantConfig(num_threads=1, dtype="float32")
    engine = build_engine(path, config, CONTEXT_TOKENS, seats[0] if num_ranks > 1 else None)
    assert isinstance(engine, NativeEngine)
    try:
        await engine.start()
        yield engine, [process for process, _ in others]
    finally:
        await engine.stop()
        for process, _ in others:
            process.kill()
            process.join()


def _start(path: Path, seat: GangSeat) -> tuple[BaseProcess, Connection]:
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=serve, args=(theirs, path, seat, {}), daemon=True)
    process.start()
    return process, ours


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
    for num_ranks in (1, 2):
        async with _engine(num_ranks) as (engine, _):
            requests = [_request(9, first) for first in (300, 330, 360)]
            texts.append(await asyncio.gather(*(_text(engine, request) for request in requests)))
            held.append(engine.load().details["expert_bytes"])
    assert texts[0] == texts[1]
    assert held[1] == held[0] / 2 > 0


async def test_when_another_rank_dies_answers_end_unavailable_and_the_engine_is_unhealthy() -> None:
    async with _engine(2) as (engine, others):
        outputs = engine.generate(_request(450))
        await anext(outputs)
        await engine.check_health()
        others[0].kill()
        with pytest.raises(Unavailable, match="shard"):
            await _last(outputs)
        assert engine._loop is not None
        await asyncio.to_thread(engine._loop.stop)  # it ends by itself
        with pytest.raises(ClusterError, match="thread"):
            await engine.check_health()
        with pytest.raises(Unavailable):
            await _text(engine, _request(1))
