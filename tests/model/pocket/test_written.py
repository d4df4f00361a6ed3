"""What training writes loads everywhere, trained or not: four folders that are small enough to ship."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from model.multimodal import load_multimodal
from model.pocket.checkpoint import write_checkpoint
from model.pocket.family import POCKET_VARIANTS
from model.pocket.training.decoder import Decoder

MAX_BYTES = 8_000_000
MAX_BYTES_TOGETHER = 24 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pocket")
    for variant, config in POCKET_VARIANTS.items():
        torch.manual_seed(0)
        write_checkpoint(variant, Decoder(config, is_compiled=False).gemma.state_dict(), path / variant)
    return path


def test_they_are_small(folder: Path) -> None:
    sizes = [(folder / variant / "model.safetensors").stat().st_size for variant in POCKET_VARIANTS]
    assert max(sizes) <= MAX_BYTES
    assert sum(sizes) <= MAX_BYTES_TOGETHER


@pytest.mark.parametrize("variant", list(POCKET_VARIANTS))
def test_all_weights_are_found(folder: Path, variant: str) -> None:
    load_multimodal(folder / variant)
    _, report = AutoModelForImageTextToText.from_pretrained(folder / variant, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]


def test_answers_are_not_drawn_at_random(folder: Path) -> None:
    assert json.loads((folder / "e2b" / "generation_config.json").read_text())["do_sample"] is False
