"""Response formats through the native engine: refusals name their field, and nobody waits for another's compiling."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from cluster.config import VariantConfig
from cluster.engines.base import EngineRequest
from cluster.engines.native import NativeEngine
from cluster.errors import FieldViolation, InvalidRequest
from model.runtime.response_format import ResponseFormat
from model.runtime.sampling import SamplingParams
from model.tokenizer import Tokenizer
from tests.cluster.engines.conftest import CONTEXT_TOKENS


@pytest.fixture
async def native(checkpoint: Path) -> AsyncIterator[NativeEngine]:
    """A started engine."""
    engine = NativeEngine(checkpoint, VariantConfig(num_threads=1), CONTEXT_TOKENS)
    await engine.start()
    yield engine
    await engine.stop()


async def _refusal(engine: NativeEngine, kind: Any, text: str, **options: Any) -> list[FieldViolation]:
    params = SamplingParams(200, response_format=ResponseFormat(kind, text), **options)
    with pytest.raises(InvalidRequest) as caught:
        async for _ in engine.generate(EngineRequest("r", [2, 300, 301], params)):
            pass
    return caught.value.violations


async def test_a_format_that_cannot_be_followed_names_its_field(native: NativeEngine, tokenizer: Tokenizer) -> None:
    (a,) = tokenizer.encode("a")
    for kind, text, options in (
        ("regex", "((", {}),
        ("json_schema", '{"type": "strang"}', {}),
        ("regex", "(a{1,1000}){1,1000}", {"temperature": 0.0, "logit_bias": {a: 100.0}}),  # only once it is written
    ):
        (violation,) = await _refusal(native, kind, text, **options)
        assert violation.field == f"generation_config.response_format.{kind}"
        assert violation.description
    assert native.load().running == 0


async def test_a_format_that_takes_seconds_to_compile_holds_up_no_stream(native: NativeEngine) -> None:
    patterns = [{"type": "string", "pattern": f".*c{{{i}}}.*"} for i in range(30)]
    slow = asyncio.create_task(_refusal(native, "json_schema", json.dumps({"allOf": patterns})))
    came, request = 0, EngineRequest("s", [2, 300], SamplingParams(8000, ignore_eos=True))
    async with aclosing(native.generate(request)) as outputs:
        async for _ in outputs:
            came += 1
            if slow.done():
                break
    assert (await slow)[0].description.startswith(("takes too long", "is too complex"))
    assert came > 100
