"""What only the native engine can get wrong: its thread, and the checkpoint it loads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest
import torch

from cluster.config import ConfigError, VariantConfig
from cluster.engines.base import EngineRequest
from cluster.engines.native import NativeEngine
from cluster.errors import ClusterError, Unavailable
from model.checkpoint import CheckpointError
from model.quantization.scheme import Quantization
from model.quantization.writer import quantize_checkpoint
from model.runtime.prefill_limit import PrefillLimit
from model.runtime.sampling import SamplingParams
from tests.cluster.engines.conftest import CONTEXT_TOKENS

CONFIG = VariantConfig(num_threads=1)


async def test_an_engine_that_is_not_started_is_unavailable(checkpoint: Path) -> None:
    engine = NativeEngine(checkpoint, CONFIG, CONTEXT_TOKENS)
    with pytest.raises(Unavailable):
        await anext(engine.generate(EngineRequest("r", [1, 2], SamplingParams(max_tokens=1))))
    with pytest.raises(Unavailable):
        await engine.check_health()
    await engine.stop()


async def test_a_checkpoint_that_cannot_be_loaded_fails_the_start(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        await NativeEngine(tmp_path, CONFIG, CONTEXT_TOKENS).start()


async def test_a_dead_thread_is_unhealthy(checkpoint: Path) -> None:
    engine = NativeEngine(checkpoint, CONFIG, CONTEXT_TOKENS)
    await engine.start()
    await engine.stop()
    with pytest.raises(ClusterError, match="thread"):
        await engine.check_health()


async def test_loading_leaves_the_event_loop_free(checkpoint: Path) -> None:
    engine = NativeEngine(checkpoint, CONFIG, CONTEXT_TOKENS)
    start = asyncio.create_task(engine.start())
    ticks = 0
    while not start.done():
        await asyncio.sleep(0)
        ticks += 1
    assert ticks > 2
    await engine.stop()


async def test_kv_capacity_is_told_and_used(checkpoint: Path) -> None:
    engine = NativeEngine(checkpoint, CONFIG, CONTEXT_TOKENS)
    await engine.start()
    outputs = engine.generate(EngineRequest("r", [5] * 20, SamplingParams(max_tokens=100, ignore_eos=True)))
    await anext(outputs)
    load = engine.load()
    assert 20 <= load.kv_tokens <= load.kv_capacity_tokens
    await outputs.aclose()
    await engine.stop()


@pytest.mark.parametrize(("settings", "expected"), [({}, 32), ({"prefix_cache": False}, 0)])
async def test_a_repeated_prompt_is_said_to_be_cached_in_every_output(
    checkpoint: Path, settings: dict[str, bool], expected: int
) -> None:
    engine = NativeEngine(checkpoint, VariantConfig(num_threads=1, **settings), CONTEXT_TOKENS)
    await engine.start()
    request = EngineRequest("r", list(range(300, 340)), SamplingParams(max_tokens=3, ignore_eos=True))
    first, second = [[output.cached_tokens async for output in engine.generate(request)] for _ in range(2)]
    assert (first, second) == ([0] * 3, [expected] * 3)
    await engine.stop()


@pytest.mark.parametrize("weights", ["int8", "int4"])
async def test_quantised_weights_answer_as_they_do_when_stored(
    checkpoint: Path, tmp_path: Path, weights: Literal["int8", "int4"]
) -> None:
    scheme = Quantization(int(weights.removeprefix("int")), 32)
    quantize_checkpoint(checkpoint, tmp_path / "stored", scheme)
    at_load = VariantConfig(num_threads=1, weights=weights, weight_group_size=32, memory_map_tables=False)
    answers = []
    for path, config in ((checkpoint, at_load), (tmp_path / "stored", CONFIG)):
        engine = NativeEngine(path, config, CONTEXT_TOKENS)
        await engine.start()
        request = EngineRequest("r", list(range(300, 340)), SamplingParams(max_tokens=20, temperature=0))
        answers.append([output.pieces async for output in engine.generate(request)])
        await engine.stop()
    assert answers[0] == answers[1]
    assert answers[0]


async def test_the_cache_is_as_large_as_configured(checkpoint: Path) -> None:
    engine = NativeEngine(checkpoint, VariantConfig(num_threads=1, kv_cache_tokens=9000), CONTEXT_TOKENS)
    await engine.start()
    assert engine.load().kv_capacity_tokens == 9000
    await engine.stop()


@pytest.mark.parametrize(("settings", "expected"), [({}, 512), ({"prefill_tokens": 16}, 16)])
async def test_no_step_computes_more_prompt_tokens_than_configured(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, int], expected: int
) -> None:
    chunks: list[int] = []
    observe = PrefillLimit.observe

    def watched(limit: PrefillLimit, num_tokens: int, seconds: float) -> None:
        chunks.append(num_tokens)
        observe(limit, num_tokens, seconds)

    monkeypatch.setattr(PrefillLimit, "observe", watched)
    engine = NativeEngine(checkpoint, CONFIG.model_copy(update=settings), 1024)
    await engine.start()
    request = EngineRequest("r", list(range(300, 340)) * 15, SamplingParams(max_tokens=1))
    assert [output async for output in engine.generate(request)]
    await engine.stop()
    assert max(chunks) == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
async def test_a_gpu_that_is_not_there_fails_the_start(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="num_gpus is 1, but torch finds no GPU"):
        await NativeEngine(checkpoint, VariantConfig(num_gpus=1), CONTEXT_TOKENS).start()
