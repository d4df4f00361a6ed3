"""Sizes of the published variants: counted without building them, equal to what is built, near what is published."""

from __future__ import annotations

import pytest
import torch

from cluster.planning.encoders import encoder_parameters
from cluster.planning.errors import PlanError
from cluster.planning.quantization import NATIVE_QUANTIZATIONS, VLLM_QUANTIZATIONS, find_quantization
from cluster.planning.weights import EXPERT_PARALLEL, TENSOR_PARALLEL, Part, parameters, weight_bytes
from model.config import ModelConfig
from model.encoders import Encoders
from model.tiny.family import TINY_VARIANTS
from model.variants import A4B_26B, DENSE_31B, E2B, E4B, VARIANTS
from model.weights import num_parameters

BF16 = VLLM_QUANTIZATIONS["bf16"]
MODELS = {**VARIANTS, **{f"tiny-{name}": config for name, config in TINY_VARIANTS.items()}}


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_encoders_have_as_many_parameters_as_those_that_are_built(config: ModelConfig) -> None:
    with torch.device("meta"):
        built = sum(parameter.numel() for parameter in Encoders(config).parameters())
    assert encoder_parameters(config) == built


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_the_decoders_parts_add_up_to_all_its_parameters(config: ModelConfig) -> None:
    assert sum(parameters(config).values()) - parameters(config)[Part.ENCODERS] == num_parameters(config.text)


@pytest.mark.parametrize(
    ("variant", "published", "has_encoders"),
    [("e2b", 5.1e9, True), ("e4b", 8e9, True), ("26b-a4b", 25.2e9, False), ("31b", 30.7e9, False)],
)
def test_totals_are_those_published(variant: str, published: float, has_encoders: bool) -> None:
    """The published totals of the large variants leave their encoders out (see tests/model/test_variants.py)."""
    counts = parameters(VARIANTS[variant])
    total = sum(counts.values()) - (0 if has_encoders else counts[Part.ENCODERS])
    assert total == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(("config", "gb"), [(E2B, 4.70), (E4B, 5.64), (DENSE_31B, 0), (A4B_26B, 0)])
def test_the_per_layer_table_is_as_large_as_published(config: ModelConfig, gb: float) -> None:
    assert weight_bytes(config, BF16)[Part.PER_LAYER_TABLE] / 1e9 == pytest.approx(gb, abs=0.005)


def test_sixteen_bits_are_two_bytes_of_every_parameter() -> None:
    for config in VARIANTS.values():
        assert sum(weight_bytes(config, BF16).values()) == 2 * sum(parameters(config).values())


def test_int8_experts_save_nearly_half_of_the_mixture() -> None:
    whole, quantised = (sum(weight_bytes(A4B_26B, VLLM_QUANTIZATIONS[name]).values()) for name in ("bf16", "int8"))
    assert 1 - quantised / whole == pytest.approx(0.45, abs=0.02)  # vLLM's recipes say about 47 %


@pytest.mark.parametrize("ranks", [2, 4, 8])
@pytest.mark.parametrize("shared", [TENSOR_PARALLEL, EXPERT_PARALLEL])
def test_ranks_share_some_parts_and_repeat_the_others(ranks: int, shared: frozenset[Part]) -> None:
    for config in VARIANTS.values():
        whole, mine = weight_bytes(config, BF16), weight_bytes(config, BF16, ranks, shared)
        for part in Part:
            assert mine[part] == pytest.approx(whole[part] / (ranks if part in shared else 1), abs=1)


@pytest.mark.parametrize("table", [VLLM_QUANTIZATIONS, NATIVE_QUANTIZATIONS])
def test_tables_norms_and_encoders_are_never_quantised(table: dict[str, object]) -> None:
    for config in VARIANTS.values():
        for name in table:
            sizes = weight_bytes(config, (VLLM_QUANTIZATIONS | NATIVE_QUANTIZATIONS)[name])
            for part in (Part.EMBEDDING, Part.PER_LAYER_TABLE, Part.SMALL, Part.ENCODERS):
                assert sizes[part] == weight_bytes(config, BF16)[part]


@pytest.mark.parametrize(
    ("name", "engine", "config", "said"),
    [
        ("fp7", "vllm", DENSE_31B, "did you mean fp8"),
        ("int4", "vllm", DENSE_31B, "known are bf16, fp8, int8, w4a16"),
        ("w4a16", "native", DENSE_31B, "known are bf16, int8, int4"),
        ("int8", "vllm", DENSE_31B, "use fp8 or w4a16"),
        ("w4a16", "vllm", A4B_26B, "use int8 or fp8"),
    ],
)
def test_a_quantisation_that_nobody_runs_is_refused(name: str, engine: str, config: ModelConfig, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        find_quantization(name, engine, config)
