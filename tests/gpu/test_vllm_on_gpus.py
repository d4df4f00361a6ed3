"""Every case on real GPUs, as many as there are:

    pip install '.[vllm,test]' && pytest -m gpu tests/gpu -v

Expected: every case that the machine has GPUs for passes, so that kernels, NCCL and the ranks' placement give the very
tokens of `cases.ANSWERS`, images are seen as our own engine sees them on the CPU, and sound is too. The others are
skipped with the number of GPUs that they take. On a machine with one GPU, 14 pass and 6 are skipped.
"""

from __future__ import annotations

import pytest
import torch

from cluster.checkpoints import resolve_checkpoint
from cluster.config import VariantConfig
from cluster.engines.base import Engine, EngineMedium, EngineRequest
from cluster.engines.native import NativeEngine
from cluster.engines.vllm.engine import VllmEngine
from cluster.prompt import PromptBuilder
from model.runtime.sampling import SamplingParams
from model.tokenizer import Tokenizer
from protos.gemmacluster.v1.content_pb2 import Blob, Content, Part
from tests.cluster.media_samples import image, wav
from tests.gpu.cases import ANSWERS, CASES, CONTEXT_TOKENS, PROMPT, Case

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="takes GPUs, and vLLM's build for them"),
    pytest.mark.filterwarnings("default"),
]


async def _tokens(engine: Engine, request: EngineRequest) -> list[int]:
    await engine.start()
    outputs = [output async for output in engine.generate(request)]
    await engine.stop()
    return [item.chosen.token_id for output in outputs for item in output.logprobs]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_answer_is_the_one_written_down(case: Case) -> None:
    if torch.cuda.device_count() < case.num_gpus:
        pytest.skip(f"takes {case.num_gpus} GPUs")
    path, expected = resolve_checkpoint(case.checkpoint), ANSWERS[case.checkpoint]
    params = SamplingParams(len(expected), temperature=0, logprobs=0, ignore_eos=True)
    request = EngineRequest("r", Tokenizer.from_checkpoint(path).encode(PROMPT), params)
    found = await _tokens(VllmEngine(path, case.config, CONTEXT_TOKENS), request)
    assert found == expected if case.is_exact else len(found) == len(expected)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("checkpoint", "blob"),
    [
        ("tiny:31b", Blob(mime_type="image/png", data=image("PNG", 640, 480))),
        ("tiny:26b-a4b", Blob(mime_type="image/png", data=image("PNG", 640, 480))),
        ("tiny:e2b", Blob(mime_type="audio/wav", data=wav(2.0))),
    ],
    ids=["an image both ways", "an image both ways, experts", "sound"],
)
async def test_media_are_taken_as_our_own_engine_takes_them(checkpoint: str, blob: Blob) -> None:
    path = resolve_checkpoint(checkpoint)
    prompt = PromptBuilder(path).build([Content(role=1, parts=[Part(inline_data=blob), Part(text="What is it?")])])
    media = tuple(EngineMedium(item.mime_type, item.data) for item in prompt.media)
    request = EngineRequest("r", prompt.token_ids, SamplingParams(8, temperature=0, logprobs=0), media)
    on_gpu = VariantConfig(engine="vllm", num_gpus=1, dtype="float32")
    found = await _tokens(VllmEngine(path, on_gpu, CONTEXT_TOKENS), request)
    assert found == await _tokens(NativeEngine(path, VariantConfig(dtype="float32"), CONTEXT_TOKENS), request)
