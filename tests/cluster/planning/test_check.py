"""Configurations against machines: what cannot run is refused with numbers and advice that holds, what can is not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config import ClusterConfig, parse_config
from cluster.planning.check import refusals
from cluster.planning.gpus import GIB, GPUS
from cluster.planning.hardware import Device, Node

DEVICES = {
    "l4": Device("NVIDIA L4", int(22.5 * GIB)),
    "l40s": Device("NVIDIA L40S", 45 * GIB),
    "a100-40": Device("NVIDIA A100-SXM4-40GB", 40 * GIB),
    "a100-80": Device("NVIDIA A100-SXM4-80GB", 80 * GIB),
    "h100": Device("NVIDIA H100 80GB HBM3", int(79.6 * GIB)),
    "h200": Device("NVIDIA H200", 140 * GIB),
}
VLLM = {"engine": "vllm", "num_gpus": 1}


def config(**variants: dict[str, Any]) -> ClusterConfig:
    """Variants of the published family, by their names with "-" and a digit first as Python cannot spell them."""
    names = {"a4b": "26b-a4b", "dense": "31b"}
    return parse_config({"family": "gemma-4", "variants": {names.get(name, name): v for name, v in variants.items()}})


def machine(gpu: str = "h100", count: int = 0, memory_gib: float = 2048) -> Node:
    return Node(int(memory_gib * GIB), (DEVICES[gpu],) * count)


def refused(config: ClusterConfig, *nodes: Node, **options: bool) -> str:
    """The one line that is said."""
    (line,) = refusals(config, nodes, **options)
    return line


@pytest.mark.parametrize("gpu", GPUS)
def test_every_row_of_the_table_is_recognised(gpu: str) -> None:
    assert DEVICES[gpu].gpu() == GPUS[gpu]


@pytest.mark.parametrize(
    ("variants", "node"),
    [
        ({"e2b": VLLM}, machine("l4", 1)),
        ({"a4b": VLLM}, machine("h100", 1)),
        ({"dense": VLLM | {"num_gpus": 4, "tensor_parallel": 4}}, machine("a100-40", 4)),
        ({"e4b": {"num_gpus": 1}, "e2b": {"num_gpus": 1}}, machine("h100", 2)),
        ({"e4b": {"num_gpus": 0.5}, "e2b": {"num_gpus": 0.5}}, machine("h100", 1)),
        ({"e2b": {}, "e4b": {}}, machine(memory_gib=32)),
        ({"dense": {"engine": "echo"}}, machine(memory_gib=1)),
        ({"dense": {"checkpoint": "tiny:31b"}}, machine(memory_gib=1)),
        ({"dense": VLLM | {"replicas": {"min": 0, "max": 4}}, "e2b": VLLM}, machine("h100", 1)),
    ],
)
def test_what_can_run_is_not_refused(variants: dict[str, Any], node: Node) -> None:
    assert refusals(config(**variants), [node]) == []


@pytest.mark.parametrize(
    ("variants", "count", "said"),
    [
        ({"e2b": {"num_gpus": 1}}, 0, "e2b.num_gpus: a replica wants 1 GPU, and there are none here; set it to 0"),
        (
            {"dense": VLLM | {"num_gpus": 4, "tensor_parallel": 4}},
            2,
            "31b.num_gpus: a replica wants 4 GPUs, and there are 2 here; set it and tensor_parallel to at most 2",
        ),
        (
            {"dense": VLLM | {"replicas": {"min": 2, "max": 2}}, "e2b": VLLM},
            2,
            "want 3 GPUs at their start (31b 2 x 1, e2b 1 x 1), and there are 2 here; lower replicas.min",
        ),
    ],
)
def test_too_few_gpus_are_refused(variants: dict[str, Any], count: int, said: str) -> None:
    assert said in refused(config(**variants), machine("h100", count))


def test_gpus_of_all_nodes_count() -> None:
    two = config(e2b=VLLM, e4b=VLLM)
    assert refusals(two, [machine("h100", 1), machine("h100", 1)]) == []
    assert "at their start" in refused(two, machine("h100", 1), machine("h100", 0))


def test_a_cluster_that_may_grow_is_not_counted_but_its_gpus_are_measured() -> None:
    assert refusals(config(e2b={"num_gpus": 1}), [Node(None)], may_grow=True) == []
    node = Node(None, (Device("L4", None),))
    assert "does not fit on L4" in refused(config(dense=VLLM | {"num_gpus": 8}), node, may_grow=True)
    assert refusals(config(dense=VLLM), [Node(None, (Device("A100", None),))], may_grow=True) == []  # perhaps 80 GB
    assert refusals(config(dense=VLLM), [Node(None, (Device("A100-40G", None),))], may_grow=True) != []
    assert refusals(config(dense=VLLM), [Node(None, (Device("B7000", None),))], may_grow=True) == []


def test_a_gpu_too_small_is_refused_with_the_numbers_and_what_to_set() -> None:
    line = refused(config(dense=VLLM), machine("a100-40", 8))
    assert line.startswith(
        "variants.31b does not fit on A100 40 GB: of 35.4 GiB that it may fill, weights take 58.6 GiB"
    )
    assert "a first sequence of 32,768 tokens wants 9.5 GiB of KV cache, and 0.0 GiB are left; set " in line
    assert line.endswith(", or tensor_parallel: 4 with num_gpus: 4")
    assert "checkpoint: google/gemma-4-31B-it-qat-w4a16-ct" in line
    assert "tensor_parallel" not in refused(config(dense=VLLM), machine("a100-40", 2))
    assert "kv_cache_dtype" not in line  # not on an A100


def test_a_context_too_long_is_refused_with_the_longest_that_fits() -> None:
    asked = VLLM | {"max_context_tokens": 65_536}
    line = refused(config(dense=asked), machine("h100", 1))
    longest = re.search(r"max_context_tokens: (\d+)", line)
    assert longest is not None
    assert refusals(config(dense=asked | {"max_context_tokens": int(longest[1])}), [machine("h100", 1)]) == []
    assert refusals(config(dense=asked | {"max_context_tokens": int(longest[1]) + 1024}), [machine("h100", 1)]) != []


def test_what_is_advised_for_a_gpu_helps() -> None:
    line = refused(config(dense=VLLM), machine("l40s", 8))
    for change in (
        {"quantization": "fp8_per_channel"},
        {"tensor_parallel": 2, "num_gpus": 2},
        {"kv_cache_dtype": "fp8"},
    ):
        is_advised = all(f"{name}: {value}" in line for name, value in change.items())
        assert is_advised == (refusals(config(dense=VLLM | change), [machine("l40s", 8)]) == [])


@pytest.mark.parametrize(
    ("name", "ranks", "said"),
    [
        ("dense", 3, "3 ranks cannot share 32 heads evenly; use 1, 2, 4, 8, 16"),
        ("a4b", 6, "6 ranks cannot share 16 heads and 128 experts evenly; use 1, 2, 4, 8, 16"),
    ],
)
def test_ranks_that_do_not_divide_the_model_are_refused(name: str, ranks: int, said: str) -> None:
    variants = {name: VLLM | {"num_gpus": ranks, "tensor_parallel": ranks, "expert_parallel": True}}
    assert refused(config(**variants), machine("h100", 8)).endswith(f".tensor_parallel: {said}")


def test_native_ranks_share_experts_on_gpus_and_in_memory() -> None:
    line = refused(config(a4b={"num_gpus": 1, "max_context_tokens": 8192}), machine("l4", 4))
    assert "expert_ranks: 4 with num_gpus: 4" in line
    spread = {"num_gpus": 4, "expert_ranks": 4, "max_context_tokens": 8192}
    assert refusals(config(a4b=spread), [machine("l4", 4)]) == []
    uneven = refused(config(a4b={"num_gpus": 3, "expert_ranks": 3}), machine("h100", 3))
    assert uneven.endswith("expert_ranks: 3 ranks cannot share 128 experts evenly; use 1, 2, 4, 8, 16")
    dense = refused(config(dense={"num_gpus": 2, "expert_ranks": 2}), machine("h200", 2))
    assert dense.endswith("2 ranks cannot share a model without experts evenly; use 1")
    on_cpus = config(a4b={"expert_ranks": 2, "num_cpus": 2})
    assert refusals(on_cpus, [machine(memory_gib=32), machine(memory_gib=32)]) == []
    assert "weights take 53.6 GiB" in refused(on_cpus, machine(memory_gib=32))


def test_settings_that_a_gpu_cannot_take_are_refused() -> None:
    line = refused(config(e2b=VLLM | {"kv_cache_dtype": "fp8"}), machine("a100-80", 1))
    assert line == "variants.e2b: A100 80 GB has no fp8 arithmetic, which attention needs; use a bf16 KV cache"


def test_the_native_engine_wants_its_whole_batch_and_its_share_of_a_gpu() -> None:
    line = refused(config(dense={"num_gpus": 1}), machine("h100", 1))
    assert "max_batch_size: 1" in line
    assert refusals(config(dense={"num_gpus": 1, "max_batch_size": 1}), [machine("h100", 1)]) == []
    assert "0.1 of L4" in refused(config(e4b={"num_gpus": 0.1}), machine("l4", 1))


def test_what_vllm_leaves_out_takes_no_memory() -> None:
    tight = VLLM | {"max_context_tokens": 45_056}
    assert refusals(config(dense=tight), [machine("h100", 1)]) != []
    for vllm in ({"text_only": True}, {"enforce_eager": True}):
        assert refusals(config(dense=tight | {"vllm": vllm}), [machine("h100", 1)]) == []


def test_a_step_too_short_for_a_video_is_refused_where_vllm_would() -> None:
    short = VLLM | {"prefill_tokens": 1024}
    line = refused(config(a4b=short), machine("h100", 1))
    assert line.startswith("variants.26b-a4b.prefill_tokens: 1024 cannot hold the longest video, 2496 tokens")
    for change in ({"prefill_tokens": 2496}, {"vllm": {"media": {"video": 0}}}, {"vllm": {"text_only": True}}):
        assert refusals(config(a4b=short | change), [machine("h100", 1)]) == []
    assert refusals(config(e4b=short), [machine("h100", 1)]) == []  # its media may be split


def test_stages_and_engines_of_a_replica_are_not_judged() -> None:
    for vllm in ({"pipeline_parallel": 2}, {"data_parallel": 2}):
        assert refusals(config(dense=VLLM | {"num_gpus": 2, "vllm": vllm}), [machine("a100-40", 2)]) == []


def test_vllm_on_a_cpu_takes_a_cache_for_all_layers() -> None:
    line = refused(config(dense={"engine": "vllm"}), machine(memory_gib=80))
    assert "weights take 58.3 GiB, the KV cache 27.5 GiB" in line
    assert "weights: int4" not in line
    assert refusals(config(dense={"engine": "vllm", "max_context_tokens": 8192}), [machine(memory_gib=80)]) == []


def test_weights_that_memory_cannot_hold_are_refused() -> None:
    line = refused(config(dense={}), machine(memory_gib=23.5))
    assert line.startswith(
        "variants.31b does not fit in 23.5 GiB of memory: weights take 58.3 GiB, the KV cache 3.3 GiB"
    )
    assert line.endswith("set weights: int4")
    assert refusals(config(dense={"weights": "int4"}), [machine(memory_gib=23.5)]) == []


def test_a_cache_that_memory_cannot_hold_is_refused_with_the_size_that_fits() -> None:
    asked = {"weights": "int4", "kv_cache_tokens": 500_000}
    line = refused(config(dense=asked), machine(memory_gib=32))
    found = re.search(r"kv_cache_tokens: (\d+)", line)
    assert found is not None
    assert refusals(config(dense=asked | {"kv_cache_tokens": int(found[1])}), [machine(memory_gib=32)]) == []
    assert refusals(config(dense=asked | {"kv_cache_tokens": int(found[1]) + 1024}), [machine(memory_gib=32)]) != []


def test_replicas_that_start_together_must_fit_together() -> None:
    many = {"e2b": {"replicas": {"min": 4, "max": 4}}, "e4b": {}}
    line = refused(config(**many), machine(memory_gib=24))
    assert line.startswith("variants want 3")
    assert "(e2b 4 x 5.7 GiB, e4b 1 x 10.5 GiB)" in line
    assert refusals(config(**many | {"e2b": {"replicas": {"min": 1, "max": 4}}}), [machine(memory_gib=24)]) == []


def test_tables_in_their_file_take_no_memory() -> None:
    assert refusals(config(e4b={}), [machine(memory_gib=12)]) == []
    assert refusals(config(e4b={"memory_map_tables": False}), [machine(memory_gib=12)]) != []


def test_memory_is_not_judged_where_it_is_not_known() -> None:
    assert refusals(config(dense={}), [Node(None)]) == []


@settings(deadline=None)
@given(
    st.sampled_from(["e2b", "e4b", "26b-a4b", "31b"]),
    st.sampled_from(["auto", "int8", "int4"]),
    st.integers(1, 131_072),
    st.floats(0.5, 128),
    st.floats(0, 64),
)
def test_more_memory_never_refuses_what_less_takes(
    name: str, weights: str, tokens: int, memory_gib: float, more_gib: float
) -> None:
    variant = {"weights": weights, "max_context_tokens": max(16, tokens)}
    asked = parse_config({"family": "gemma-4", "variants": {name: variant}})
    less, more = ([machine(memory_gib=size)] for size in (memory_gib, memory_gib + more_gib))
    assert bool(refusals(asked, less)) >= bool(refusals(asked, more))
