"""What is known of a checkpoint before it is loaded: its shape, and how wide its weights are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.planning.known_models import known_model
from model.quantization.scheme import Quantization
from model.quantization.writer import quantize_checkpoint
from model.tiny import ensure_tiny
from model.variants import A4B_26B, DENSE_31B, E2B, VARIANTS


@pytest.mark.parametrize(
    ("name", "config", "bits"),
    [
        ("google/gemma-4-E2B-it", E2B, 16),
        ("google/gemma-4-26B-A4B-it", A4B_26B, 16),
        ("google/gemma-4-31B", DENSE_31B, 16),
        ("google/gemma-4-31B-it-qat-w4a16-ct", DENSE_31B, 4.5),
    ],
)
def test_published_repositories_are_known_by_their_names(name: str, config: object, bits: float) -> None:
    known = known_model(name)
    assert known is not None
    assert known[0] is config
    assert known[1].linear_bits == bits


@pytest.mark.parametrize("name", ["tiny:e2b", "someone/gemma-4-31B-it", "google/gemma-3-27b-it", "no-such-folder"])
def test_what_is_not_known_is_not_guessed(name: str) -> None:
    assert known_model(name) is None


def _folder(path: Path, **more: Any) -> str:
    (path / "config.json").write_text(json.dumps(VARIANTS["31b"].to_hf() | more))
    return str(path)


COMPRESSED = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 4}}}}


@pytest.mark.parametrize(
    ("more", "bits"),
    [
        ({}, 16),
        ({"quantization_config": COMPRESSED}, 4.5),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, 4.5),
        ({"quantization_config": {"quant_method": "fp8"}}, 8),
        ({"quantization_config": {"quant_method": "something new"}}, 16),
    ],
)
def test_a_folder_says_how_wide_its_weights_are(tmp_path: Path, more: dict[str, Any], bits: float) -> None:
    known = known_model(_folder(tmp_path, **more))
    assert known is not None
    assert known[0] == DENSE_31B
    assert known[1].linear_bits == bits


def test_our_own_checkpoints_are_read_too(tmp_path: Path) -> None:
    tiny = ensure_tiny("e2b")
    quantize_checkpoint(tiny, tmp_path / "int8", Quantization(8))
    whole, quantised = known_model(str(tiny)), known_model(str(tmp_path / "int8"))
    assert whole is not None
    assert quantised is not None
    assert (whole[1].name, whole[1].plain_bits, quantised[1].linear_bits) == ("float32", 32, 8)


def test_a_folder_that_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    assert known_model(str(tmp_path)) is None
    (tmp_path / "config.json").write_text("{")
    assert known_model(str(tmp_path)) is None
