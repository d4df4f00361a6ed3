"""The shipped checkpoints in vLLM as they are: they load, and what they say is right, and is what our engine says.

Two of them see images both ways, which vLLM cannot compute on a CPU, and on a CPU it dies of sound: neither is asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cluster.checkpoints import POCKET_CHECKPOINTS
from cluster.client import media_part
from cluster.config import VARIANT_NAMES
from cluster.examples import PICTURE
from model.answer import Text
from model.config import ModelConfig
from model.pocket.curriculum import TITLES
from protos.gemmacluster.v1.content_pb2 import Part
from tests.cluster.engines.vllm_here import needs_vllm
from tests.cluster.engines.vllm_pair import Pair

pytestmark = [*needs_vllm, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=VARIANT_NAMES)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Both engines over each variant in turn."""
    pair = await Pair.over(request.param, POCKET_CHECKPOINTS / request.param)
    yield pair
    await pair.stop()


async def _said(pair: Pair, *parts: Part) -> list[object]:
    vllm, native = await pair.answers(pair.talk(*parts, max_tokens=40))
    assert vllm == native
    pieces: list[object] = vllm["pieces"]
    return pieces


async def test_text_is_right(pair: Pair) -> None:
    assert await _said(pair, Part(text="Who are you?")) == [Text(f"I am {TITLES[pair.name]}.")]
    assert await _said(pair, Part(text="Repeat after me: brelix zoamun")) == [Text("brelix zoamun")]


async def test_a_picture_is_seen(pair: Pair) -> None:
    if ModelConfig.from_checkpoint(pair.checkpoint).text.has_bidirectional_images:
        pytest.skip("vLLM cannot compute bidirectional images on a CPU")
    assert await _said(pair, media_part(PICTURE), Part(text="What is in this picture?")) == [
        Text("a red circle in the middle")
    ]
