"""The planner against vLLM's own code: bytes of KV cache a request, and arguments that it knows."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cluster.config import parse_config
from cluster.engines.vllm.arguments import argument_names, check_known, engine_arguments
from cluster.planning.kv_cache import kv_cost, owners
from cluster.planning.paste import config_yaml
from cluster.planning.plan import plan
from model.config import LayerSpec, TextConfig
from model.variants import VARIANTS
from tests.cluster.engines.vllm_here import needs_vllm

pytestmark = list(needs_vllm)
IN_FLIGHT = 8192


def _vllm_bytes(text: TextConfig, context: int, ranks: int) -> int:
    """What vLLM wants to have for one request of full length, on one rank."""
    config = SimpleNamespace(
        max_in_flight_tokens=IN_FLIGHT,
        model_config=SimpleNamespace(max_model_len=context),
        parallel_config=SimpleNamespace(decode_context_parallel_size=1, prefill_context_parallel_size=1),
    )
    widest = max(_numbers(spec, ranks) for spec in owners(text))
    return sum(_spec(spec, ranks, widest).max_memory_usage_bytes(config) for spec in owners(text))


def _numbers(spec: LayerSpec, ranks: int) -> int:
    return 2 * max(1, spec.num_kv_heads // ranks) * spec.head_dim


def _spec(spec: LayerSpec, ranks: int, widest: int) -> Any:
    """Blocks of all layers are equally many bytes, so that those of narrow layers hold more tokens."""
    import torch
    from vllm.v1.kv_cache_interface import FullAttentionSpec, SlidingWindowSpec

    shape = {
        "block_size": 16 * widest // _numbers(spec, ranks),
        "num_kv_heads": max(1, spec.num_kv_heads // ranks),
        "head_size": spec.head_dim,
        "dtype": torch.bfloat16,
    }
    if spec.window is None:
        return FullAttentionSpec(**shape)
    return SlidingWindowSpec(sliding_window=spec.window, **shape)


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_sequence_takes_what_vllm_says_it_takes(variant: str, ranks: int) -> None:
    text = VARIANTS[variant].text
    for context, tolerance in ((512, 0.025), (8192, 0.005), (32_768, 0.005), (131_072, 0.005)):
        ours = kv_cost(text, 2, ranks).sequence_bytes(context, IN_FLIGHT)
        assert ours == pytest.approx(_vllm_bytes(text, context, ranks), rel=tolerance)


@pytest.mark.parametrize(
    ("gpu", "variant", "options"),
    [
        ("h100", "26b-a4b", {}),
        ("h200", "31b", {"quantization": "fp8", "kv": "fp8", "count": 8}),
        ("l4", "26b-a4b", {"quantization": "int8"}),
        ("a100-40", "31b", {}),
        ("l4", "e2b", {}),
    ],
)
def test_what_a_plan_configures_are_arguments_of_vllm(
    tmp_path: Path, gpu: str, variant: str, options: dict[str, Any]
) -> None:
    from vllm import AsyncEngineArgs
    from vllm.config.quantization import ONLINE_QUANT_SHORTHAND_NAMES

    (tmp_path / "config.json").write_text(json.dumps(VARIANTS[variant].to_hf()))
    made = plan(gpu, variant, 32_768, **options)
    config = parse_config(yaml.safe_load(config_yaml(made))).variants[variant]
    arguments = engine_arguments(tmp_path, config, 32_768)
    check_known(arguments, argument_names(AsyncEngineArgs), ONLINE_QUANT_SHORTHAND_NAMES)
    built = AsyncEngineArgs(**arguments)
    assert made.chosen is not None
    assert built.tensor_parallel_size == made.chosen.ranks
    assert built.enable_expert_parallel == (variant == "26b-a4b" and made.chosen.ranks > 1)
    assert (built.max_model_len, built.max_num_seqs) == (32_768, made.chosen.most_sequences)
