"""Checked without a GPU: the answers written down are the model's, and vLLM knows every argument that a case makes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cluster.checkpoints import resolve_checkpoint
from cluster.config import ConfigError, VariantConfig
from cluster.engines.base import EngineRequest
from cluster.engines.native import NativeEngine
from cluster.engines.vllm.load import LoadReport
from cluster.engines.vllm.start import make_engine_args, start_vllm
from model.runtime.sampling import SamplingParams
from model.tokenizer import Tokenizer
from tests.cluster.engines.vllm_here import needs_vllm
from tests.gpu.cases import ANSWERS, CASES, CONTEXT_TOKENS, PROMPT, Case


def marked(test: Any) -> Any:
    """As a test of vLLM."""
    for mark in needs_vllm:
        test = mark(test)
    return test


@pytest.mark.parametrize("checkpoint", ANSWERS)
async def test_the_answers_written_down_are_the_models(checkpoint: str) -> None:
    path = resolve_checkpoint(checkpoint)
    engine = NativeEngine(path, VariantConfig(num_threads=1, dtype="float32"), CONTEXT_TOKENS)
    await engine.start()
    params = SamplingParams(len(ANSWERS[checkpoint]), temperature=0, logprobs=0)
    request = EngineRequest("r", Tokenizer.from_checkpoint(path).encode(PROMPT), params)
    outputs = [output async for output in engine.generate(request)]
    await engine.stop()
    assert [item.chosen.token_id for output in outputs for item in output.logprobs] == ANSWERS[checkpoint]


@marked
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_vllm_knows_every_argument(case: Case) -> None:
    arguments = make_engine_args(resolve_checkpoint(case.checkpoint), case.config, CONTEXT_TOKENS)
    assert arguments.max_model_len == CONTEXT_TOKENS


@marked
def test_vllm_knows_the_arguments_within_arguments(tmp_path: Path) -> None:
    from vllm.config import SpeculativeConfig, StructuredOutputsConfig

    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8}))
    vllm = {"draft": {"checkpoint": "some/assistant"}, "adapter": str(tmp_path)}
    config = VariantConfig.model_validate({"engine": "vllm", "num_gpus": 1, "vllm": vllm})
    arguments = make_engine_args(resolve_checkpoint("tiny:e2b"), config, CONTEXT_TOKENS)
    assert set(arguments.speculative_config) <= {field.name for field in dataclasses.fields(SpeculativeConfig)}
    assert StructuredOutputsConfig(**arguments.structured_outputs_config).backend == "guidance"
    assert (arguments.enable_lora, arguments.max_lora_rank) == (True, 8)


@marked
@pytest.mark.parametrize(
    ("engine_args", "message"),
    [
        ({"max_num_sequences": 4}, "max_num_sequences is no argument of vLLM's engine; the nearest is max_num_seqs"),
        ({"quantization": "fp9"}, "quantization: fp9 is no quantisation of vLLM"),
        ({"seed": "many"}, "vllm: (.*\n)*.*seed"),
    ],
)
def test_what_vllm_does_not_know_is_refused_by_name(engine_args: dict[str, Any], message: str) -> None:
    config = VariantConfig.model_validate({"engine": "vllm", "vllm": {"engine_args": engine_args}})
    with pytest.raises(ConfigError, match=message):
        start_vllm(resolve_checkpoint("tiny:e2b"), config, CONTEXT_TOKENS, LoadReport())
