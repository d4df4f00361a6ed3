"""Engines of every kind over the tiny E2B checkpoint, made as a replica makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch

from cluster.checkpoints import resolve_checkpoint
from cluster.config import VariantConfig
from cluster.engines.base import Engine
from cluster.engines.build import build_engine
from model.tokenizer import Tokenizer
from tests.cluster.engines.two_ranks import TwoRanks
from tests.cluster.engines.vllm_here import needs_vllm

MakeEngine = Callable[..., Awaitable[Engine]]
# "ranks" is the native engine as one of two ranks over which experts are spread.
ENGINES = ("native", "ranks", "vllm", "echo")
CONTEXT_TOKENS = 8192
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The checkpoint of all engines here."""
    return resolve_checkpoint("tiny:e2b")


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> Tokenizer:
    """Its tokenizer."""
    return Tokenizer.from_checkpoint(checkpoint)


@pytest.fixture(params=[pytest.param(name, marks=needs_vllm if name == "vllm" else ()) for name in ENGINES])
def kind(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slow_to_start() -> AsyncIterator[dict[str, Engine]]:
    """vLLM takes tens of seconds: tests that want equal engines share one, until a test stops it."""
    shared: dict[str, Engine] = {}
    yield shared
    for engine in shared.values():
        await engine.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def make_engine(kind: str, checkpoint: Path, slow_to_start: dict[str, Engine]) -> AsyncIterator[MakeEngine]:
    """`await make_engine(max_batch_size=1)`: a started engine; keywords are VariantConfig's."""
    made: list[Engine] = []

    async def make(**options: Any) -> Engine:
        name = repr((kind, sorted({**options, "echo_delay_ms": 0}.items())))
        if name in slow_to_start:
            return slow_to_start[name]
        options = {"echo_delay_ms": 1, "num_threads": 1, **options}
        if kind == "ranks":
            ranks = closing.enter_context(TwoRanks())
            engine = build_engine(ranks.path, VariantConfig(**options), CONTEXT_TOKENS, ranks.seat)
        else:
            engine = build_engine(checkpoint, VariantConfig(engine=kind, **options), CONTEXT_TOKENS)
        await engine.start()
        if kind == "vllm":
            slow_to_start[name] = engine
        else:
            made.append(engine)
        return engine

    with ExitStack() as closing:
        yield make
        for engine in made:
            await engine.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def engine(make_engine: MakeEngine) -> Engine:
    """A started engine with room for all that a test asks of it."""
    return await make_engine()


@pytest_asyncio.fixture(loop_scope="module")
async def slow_engine(make_engine: MakeEngine) -> Engine:
    """One on which `ask.long()` takes many seconds unless it is ended: it repeats slowly, or computes for long."""
    return await make_engine(echo_delay_ms=50)
