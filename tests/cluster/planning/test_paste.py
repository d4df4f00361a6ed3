"""What a plan gives to paste: a configuration that parses, and says what was planned."""

from __future__ import annotations

import itertools

import pytest
import yaml

from cluster.config import ClusterConfig, parse_config
from cluster.planning.errors import PlanError
from cluster.planning.gpus import GPUS
from cluster.planning.paste import config_yaml
from cluster.planning.plan import Plan, plan
from cluster.planning.quantization import NATIVE_QUANTIZATIONS, VLLM_QUANTIZATIONS
from model.variants import VARIANTS

QUANTIZATIONS = [("vllm", name) for name in VLLM_QUANTIZATIONS] + [("native", name) for name in NATIVE_QUANTIZATIONS]


def pasted(made: Plan) -> ClusterConfig:
    return parse_config(yaml.safe_load(config_yaml(made)))


@pytest.mark.parametrize("gpu", GPUS)
def test_every_plan_of_the_table_parses_back(gpu: str) -> None:
    fitting = 0
    for variant, context, (engine, quantization), kv, count in itertools.product(
        VARIANTS, (8192, 131_072), QUANTIZATIONS, ("bf16", "fp8"), (None, 8)
    ):
        try:
            made = plan(gpu, variant, context, count, quantization, kv, engine)
        except PlanError:
            continue
        if made.chosen is not None:
            fitting += 1
            _check(made, pasted(made))
    assert fitting > 40


def _check(made: Plan, config: ClusterConfig) -> None:
    assert made.chosen is not None
    question, variant = made.question, config.variants[made.question.variant]
    assert list(config.variants) == [question.variant]
    assert (variant.engine, variant.max_context_tokens) == (question.engine, question.context)
    assert (variant.max_batch_size, variant.prefill_tokens) == (made.chosen.most_sequences, question.chunk)
    assert variant.num_gpus == made.chosen.ranks
    assert variant.expert_ranks == (1 if question.engine == "vllm" else made.chosen.ranks)
    assert variant.replicas.min == variant.replicas.max == made.replicas
    if question.engine == "vllm":
        assert variant.tensor_parallel == made.chosen.ranks
        assert variant.expert_parallel == (question.variant == "26b-a4b" and made.chosen.ranks > 1)
        assert (variant.kv_cache_dtype == "fp8") == (question.kv == "fp8")
        assert variant.gpu_memory_utilization == question.share


@pytest.mark.parametrize(
    ("variant", "quantization", "engine", "expected"),
    [
        ("31b", "fp8", "vllm", {"quantization": "fp8_per_channel"}),
        ("26b-a4b", "int8", "vllm", {"quantization": "int8_per_channel_weight_only"}),
        ("31b", "w4a16", "vllm", {"checkpoint": "google/gemma-4-31B-it-qat-w4a16-ct", "quantization": None}),
        ("31b", "bf16", "vllm", {"checkpoint": None, "quantization": None}),
        ("e4b", "int4", "native", {"weights": "int4"}),
        ("e4b", "bf16", "native", {"weights": "auto"}),
    ],
)
def test_quantisation_is_said_as_the_engine_takes_it(
    variant: str, quantization: str, engine: str, expected: dict[str, object]
) -> None:
    config = pasted(plan("h200", variant, 8192, quantization=quantization, engine=engine)).variants[variant]
    assert {name: getattr(config, name) for name in expected} == expected
