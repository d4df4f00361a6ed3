"""Loading and writing checkpoints: names, fused weights, errors that name what is wrong, memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.models.gemma4.modeling_gemma4 import Gemma4ForCausalLM, Gemma4ForConditionalGeneration

from model.checkpoint import SINGLE_FILE, CheckpointError
from model.config import ModelConfig
from model.weights import hf_tensors, load_model, save_checkpoint
from tests.model.conftest import VARIANT_NAMES, MakeCheckpoint

TEXT = "model.language_model."
Tensors = dict[str, Tensor]


def edited(source: Path, target: Path, edit: Callable[[Tensors], object]) -> Path:
    """A copy of a checkpoint whose tensors `edit` has changed."""
    shutil.copytree(source, target)
    tensors = load_file(target / SINGLE_FILE)
    edit(tensors)
    save_file(tensors, target / SINGLE_FILE)
    return target


def complaint_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load_model(path)
    return str(error.value)


@pytest.mark.parametrize("is_text_only", [False, True])
@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_what_we_write_transformers_loads_with_nothing_missing_or_left_over(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, variant: str, is_text_only: bool
) -> None:
    source = make_checkpoint(variant, 0, text_only=is_text_only)
    stored = load_file(source / SINGLE_FILE)
    encoders = {n: t for n, t in stored.items() if "vision" in n or "audio" in n}
    config = ModelConfig.from_checkpoint(source)
    save_checkpoint(load_model(source), config, tmp_path, encoders)
    written = load_file(tmp_path / SINGLE_FILE)
    assert set(written) == set(stored)
    assert all(torch.equal(written[name], stored[name]) for name in stored)
    assert ModelConfig.from_checkpoint(tmp_path) == config
    model_class: Any = Gemma4ForCausalLM if is_text_only else Gemma4ForConditionalGeneration
    _, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info


def test_an_untied_head_survives_the_round_trip(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    source = make_checkpoint("31b", 0, text_only=True, tie_word_embeddings=False)
    save_checkpoint(load_model(source), ModelConfig.from_checkpoint(source), tmp_path)
    expected = load_file(source / SINGLE_FILE)["lm_head.weight"]
    assert torch.equal(load_file(tmp_path / SINGLE_FILE)["lm_head.weight"], expected)


@pytest.mark.parametrize("prefix", ["", "language_model."])
def test_a_decoder_saved_without_its_head_is_found(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, prefix: str
) -> None:
    def rename(tensors: Tensors) -> None:
        for name in list(tensors):
            tensors[name.replace(TEXT, prefix).removeprefix("model.")] = tensors.pop(name)

    path = edited(make_checkpoint("e2b", 0), tmp_path / "bare", rename)
    expected = load_model(make_checkpoint("e2b", 0)).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load_model(path).state_dict().items())


def test_keys_and_values_stored_for_sharing_layers_are_ignored(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    unused = ("k_proj", "v_proj", "k_norm", "v_norm")

    def add(tensors: Tensors) -> None:
        tensors |= {f"{TEXT}layers.5.self_attn.{name}.weight": torch.zeros(3) for name in unused}

    load_model(edited(make_checkpoint("e2b", 0), tmp_path / "full", add))


def test_keys_and_values_of_a_layer_that_needs_them_are_not_ignored(
    make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    name = f"{TEXT}layers.2.self_attn.k_proj.weight"
    path = edited(make_checkpoint("e2b", 0), tmp_path / "less", lambda tensors: tensors.pop(name))
    assert f"1 missing weights: {name}" in complaint_of(path)


def test_a_stored_copy_of_the_tied_head_is_ignored(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    def add(tensors: Tensors) -> None:
        tensors["lm_head.weight"] = torch.zeros(300, 64)

    load_model(edited(make_checkpoint("e2b", 0), tmp_path / "head", add))


def test_an_unknown_weight_is_an_error_that_names_it(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    def add(tensors: Tensors) -> None:
        tensors[f"{TEXT}layers.0.self_attn.sinks"] = torch.zeros(4)
        tensors["model.mystery_tower.weight"] = torch.zeros(4)

    complaint = complaint_of(edited(make_checkpoint("e4b", 0), tmp_path / "more", add))
    assert f"2 unknown weights: {TEXT}layers.0.self_attn.sinks, model.mystery_tower.weight" in complaint


def test_a_weight_of_the_wrong_shape_is_an_error_with_both_shapes(
    make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    name = f"{TEXT}layers.0.self_attn.q_proj.weight"

    def cut(tensors: Tensors) -> None:
        tensors[name] = tensors[name][:32].clone()

    complaint = complaint_of(edited(make_checkpoint("e2b", 0), tmp_path / "cut", cut))
    assert f"{name} is [32, 64], expected [64, 64]" in complaint


def test_a_long_list_of_names_is_cut_and_counted(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    def drop(tensors: Tensors) -> None:
        for name in [n for n in tensors if ".layers." in n and TEXT in n]:
            del tensors[name]

    complaint = complaint_of(edited(make_checkpoint("31b", 0), tmp_path / "few", drop))
    assert complaint.count(f"{TEXT}layers.") == 10
    assert " and " in complaint
    assert " more" in complaint


def test_a_checkpoint_without_a_text_decoder_is_told(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    def keep_encoders(tensors: Tensors) -> None:
        for name in [n for n in tensors if TEXT in n]:
            del tensors[name]

    complaint = complaint_of(edited(make_checkpoint("31b", 0), tmp_path / "eyes", keep_encoders))
    assert "holds no text decoder" in complaint


def test_a_quantized_weight_is_an_error_that_names_it(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    name = f"{TEXT}layers.0.mlp.down_proj.weight"

    def quantize(tensors: Tensors) -> None:
        tensors[name] = tensors[name].to(torch.int8)

    complaint = complaint_of(edited(make_checkpoint("31b", 0), tmp_path / "int8", quantize))
    assert f"{name} is stored as torch.int8" in complaint


def test_weights_are_held_in_the_type_of_the_config_or_of_the_caller(make_checkpoint: MakeCheckpoint) -> None:
    path = make_checkpoint("e2b", 0)
    assert {t.dtype for t in load_model(path).state_dict().values()} == {torch.float32}
    half = load_model(path, dtype=torch.bfloat16, maps_tables=False).state_dict()
    assert {t.dtype for t in half.values()} == {torch.bfloat16}


def test_progress_counts_bytes_up_to_the_size_of_the_model(make_checkpoint: MakeCheckpoint) -> None:
    reports: list[tuple[int, int]] = []
    model = load_model(make_checkpoint("e2b", 0), progress=lambda done, total: reports.append((done, total)))
    total = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert [done for done, _ in reports] == sorted({done for done, _ in reports})
    assert reports[-1] == (total, total)


def test_heads_that_differ_cannot_be_written(make_checkpoint: MakeCheckpoint) -> None:
    model = load_model(make_checkpoint("e2b", 0))
    model.blocks[0].attention.qk_norm[0, 0] += 1
    with pytest.raises(ValueError, match=r"blocks\.0\.attention\.qk_norm differs between heads"):
        hf_tensors(model, "model.")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_never_holds_the_model_twice(make_checkpoint: MakeCheckpoint) -> None:
    """Anonymous memory (mapped file pages can be dropped) grows by one model of 100 MiB, with a little around it."""
    path = make_checkpoint("31b", 0, text_only=True, vocab_size=400_000)
    code = """
import pathlib, sys, torch
from model.weights import load_model
def anonymous():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024
before, peak = anonymous(), 0
def watch(done, total):
    global peak
    peak = max(peak, anonymous() - before)
model = load_model(pathlib.Path(sys.argv[1]), progress=watch)
size = sum(tensor.nbytes for tensor in model.state_dict().values())
assert size > 100e6, size
assert peak < 1.3 * size, (peak, size)
"""
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=120)
