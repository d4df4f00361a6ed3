"""A variant's configuration as vLLM's arguments, and what is refused before vLLM starts. Needs no vLLM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.capabilities import read_capabilities
from cluster.checkpoints import resolve_checkpoint
from cluster.config import ConfigError, VariantConfig, VllmConfig
from cluster.engines.vllm.arguments import check_known, engine_arguments
from cluster.engines.vllm.parallelism import placement_bundles

CONTEXT_TOKENS = 1024


def variant(vllm: dict[str, Any] | None = None, **options: Any) -> VariantConfig:
    return VariantConfig(engine="vllm", vllm=VllmConfig(**(vllm or {})), **options)


def arguments(config: VariantConfig, checkpoint: str = "tiny:e2b") -> dict[str, Any]:
    return engine_arguments(resolve_checkpoint(checkpoint), config, CONTEXT_TOKENS)


def test_the_variants_fields_reach_vllm() -> None:
    found = arguments(variant(num_gpus=1, max_batch_size=7, prefix_cache=False, kv_cache_dtype="fp8", dtype="bfloat16"))
    expected = {"max_num_seqs": 7, "enable_prefix_caching": False, "kv_cache_dtype": "fp8", "dtype": "bfloat16"}
    assert {name: found[name] for name in expected} == expected
    assert found["max_model_len"] == CONTEXT_TOKENS
    assert found["max_num_batched_tokens"] == 4096
    assert found["enforce_eager"] is False


def test_on_a_cpu_the_cache_has_a_size_and_nothing_is_compiled() -> None:
    small, large = (arguments(variant(kv_cache_tokens=tokens)) for tokens in (2048, 4096))
    assert large["kv_cache_memory_bytes"] == 2 * small["kv_cache_memory_bytes"] > 0
    assert small["enforce_eager"] is True
    assert arguments(variant({"enforce_eager": False}))["enforce_eager"] is False


def test_ranks_share_a_placement_group_whose_first_bundle_holds_the_replica() -> None:
    config = variant({"pipeline_parallel": 2}, tensor_parallel=2, num_gpus=4, num_cpus=1)
    assert placement_bundles(config) == [{"CPU": 1, "GPU": 1}, {"GPU": 1}, {"GPU": 1}, {"GPU": 1}]
    found = arguments(config, "tiny:31b")
    assert (found["tensor_parallel_size"], found["pipeline_parallel_size"]) == (2, 2)
    assert found["distributed_executor_backend"] == "ray"


@pytest.mark.parametrize(
    "config",
    [
        variant(num_gpus=1),
        variant(tensor_parallel=2),
        variant({"data_parallel": 2}, num_gpus=2),
        VariantConfig(num_gpus=2),
    ],
    ids=["one rank", "ranks on a CPU", "data parallel on one node", "native"],
)
def test_other_replicas_have_no_placement_group(config: VariantConfig) -> None:
    assert placement_bundles(config) is None


def test_experts_spread_over_ranks_of_both_kinds() -> None:
    config = variant({"data_parallel": 2, "expert_balance": True}, tensor_parallel=2, num_gpus=4, expert_parallel=True)
    found = arguments(config, "tiny:26b-a4b")
    assert (found["enable_expert_parallel"], found["enable_eplb"], found["data_parallel_size"]) == (True, True, 2)
    assert found["distributed_executor_backend"] == "mp"


@pytest.mark.parametrize(
    ("checkpoint", "config", "message"),
    [
        ("tiny:e2b", variant(tensor_parallel=3), "tensor_parallel: 3 does not divide the model's 4 heads"),
        (
            "tiny:e2b",
            variant(tensor_parallel=2, num_gpus=1),
            "num_gpus: 1 is not one each for tensor_parallel 2",
        ),
        ("tiny:e2b", variant({"pipeline_parallel": 2}), "per-layer embeddings"),
        ("tiny:31b", variant(expert_parallel=True), "expert_parallel: this model has no experts"),
        ("tiny:26b-a4b", variant({"expert_balance": True}), "vllm.expert_balance: moves the experts"),
        ("tiny:26b-a4b", variant({"data_parallel": 3}, num_gpus=3, expert_parallel=True), "128 experts over 3"),
        ("tiny:26b-a4b", variant(tensor_parallel=2, expert_parallel=True), "expert_parallel: vLLM .* on GPUs only"),
        ("tiny:e2b", variant(weights="int4"), "weights: int4 is of the native engine"),
        (
            "tiny:e2b",
            variant({"engine_args": {"max_num_seqs": 4}}),
            "max_num_seqs is set by the variant's max_batch_size",
        ),
        ("tiny:e2b", variant({"adapter": "nowhere"}), "vllm.adapter: nowhere is no LoRA adapter"),
    ],
)
def test_what_cannot_run_is_refused_with_what_to_change(checkpoint: str, config: VariantConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arguments(config, checkpoint)


def test_an_unknown_argument_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"vllm\.engine_args: block_sise is no argument .* nearest is block_size"):
        check_known({"block_sise": 16}, ["block_size", "seed"], [])


def test_an_unknown_quantisation_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"quantization: fp9 is no quantisation .* nearest is fp8"):
        check_known({"quantization": "fp9"}, ["quantization"], ["fp8", "awq"])


def test_an_adapter_gets_kernels_of_its_rank(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 12}))
    found = arguments(variant({"adapter": str(tmp_path)}))
    assert (found["enable_lora"], found["max_lora_rank"]) == (True, 16)


def test_a_draft_is_vllms_speculative_config() -> None:
    found = arguments(variant({"draft": {"checkpoint": "some/assistant", "tokens": 2}}))
    assert found["speculative_config"] == {"model": "some/assistant", "num_speculative_tokens": 2}


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({}, {"text", "image", "video"}),  # and no sound, on a CPU
        ({"num_gpus": 1}, {"text", "image", "video", "audio"}),
        ({"num_gpus": 1, "vllm": {"media": {"video": 0, "image": 2}}}, {"text", "image", "audio"}),
        ({"vllm": {"text_only": True}}, {"text"}),
    ],
)
def test_routing_knows_which_modalities_the_engine_takes(options: dict[str, Any], taken: set[str]) -> None:
    found = read_capabilities("e2b", variant(**options), resolve_checkpoint("tiny:e2b"), "tiny:e2b")
    assert found.modalities == taken


@pytest.mark.parametrize(("num_gpus", "taken"), [(0, {"text"}), (1, {"text", "image", "video"})])
def test_images_that_see_themselves_both_ways_take_a_gpu(num_gpus: int, taken: set[str]) -> None:
    found = read_capabilities("31b", variant(num_gpus=num_gpus), resolve_checkpoint("tiny:31b"), "tiny:31b")
    assert found.modalities == taken
