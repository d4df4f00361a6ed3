"""Checkpoints quantised at load and stored quantised: equal, complete, and refused with a reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.checkpoint import Checkpoint, CheckpointError
from model.full_attention import FullAttention
from model.multimodal import load_multimodal
from model.quantization.__main__ import main
from model.quantization.int4 import int4_layout, unpack
from model.quantization.int8 import ALIGNMENT
from model.quantization.rows import QuantizedRows
from model.quantization.scheme import CONFIG_KEY, Int4Layout, Quantization
from model.quantization.weight import QuantizedWeight
from model.quantization.writer import quantize_checkpoint
from model.tiny import ensure_tiny
from model.transformer import Transformer
from model.weights import load_model
from tests.model.conftest import VARIANT_NAMES, MakeCheckpoint
from tests.model.quantization.test_formats import packed_by_formula

SCHEMES = [Quantization(8), Quantization(4, 32)]


def logits(model: Transformer) -> Tensor:
    tokens = torch.arange(3, 43)
    return model(tokens, torch.arange(40), FullAttention([40]))  # type: ignore[no-any-return]


def checkpoint(make_checkpoint: MakeCheckpoint, variant: str) -> Path:
    """With sizes that both formats take."""
    sizes = {"vocab_size": 320, "vocab_size_per_layer_input": 320}
    if variant in ("e2b", "e4b"):
        sizes["hidden_size_per_layer_input"] = 64
    return make_checkpoint(variant, 0, "medium", **sizes)


@pytest.mark.parametrize("variant", VARIANT_NAMES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_stored_model_is_the_one_quantised_at_load(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, variant: str, scheme: Quantization
) -> None:
    source = checkpoint(make_checkpoint, variant)
    quantize_checkpoint(source, tmp_path / "stored", scheme)
    at_load = load_multimodal(source, quantization=scheme, maps_tables=False)
    stored = load_multimodal(tmp_path / "stored")
    expected = at_load.state_dict()
    assert {name: tensor.dtype for name, tensor in stored.state_dict().items()} == {
        name: tensor.dtype for name, tensor in expected.items()
    }
    assert all(torch.equal(tensor, expected[name]) for name, tensor in stored.state_dict().items())
    assert torch.equal(logits(stored.text), logits(at_load.text))
    assert torch.equal(logits(load_model(tmp_path / "stored")), logits(at_load.text))


@pytest.mark.parametrize("variant", VARIANT_NAMES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_stored_numbers_lie_where_kernels_can_read_them_in_place(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, variant: str, scheme: Quantization
) -> None:
    quantize_checkpoint(checkpoint(make_checkpoint, variant), tmp_path / "stored", scheme)
    stored = Checkpoint(tmp_path / "stored")
    names = [name for name in stored.file_of if name.endswith(".numbers")]
    assert names
    assert [name for name in names if stored.tensor(name).data_ptr() % ALIGNMENT] == []


@pytest.mark.parametrize("variant", VARIANT_NAMES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_matrix_of_the_decoder_is_quantised_and_nothing_else(
    make_checkpoint: MakeCheckpoint, variant: str, scheme: Quantization
) -> None:
    model = load_multimodal(checkpoint(make_checkpoint, variant), quantization=scheme, maps_tables=False)
    left = [name for name, weight in model.text.named_parameters() if weight.dim() > 1 and "norm" not in name]
    # The router stays whole, and so do experts of width 24, which no kernel takes.
    assert {name.split(".", 2)[-1] for name in left} <= {
        "feed_forward.moe.router.projection.weight",
        "feed_forward.moe.experts.gate_up",
        "feed_forward.moe.experts.down",
    }
    assert not any(isinstance(module, QuantizedWeight | QuantizedRows) for module in model.encoders.modules())
    assert any(isinstance(module, QuantizedWeight) for module in model.text.modules())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_experts_are_quantised_where_their_size_allows(make_checkpoint: MakeCheckpoint, scheme: Quantization) -> None:
    path = make_checkpoint("26b-a4b", 0, "medium", moe_intermediate_size=32)
    whole, quantised = load_model(path), load_model(path, quantization=scheme)
    assert any(name.endswith("experts.gate_up.numbers") for name in quantised.state_dict())
    difference = (logits(quantised) - logits(whole)).norm() / logits(whole).norm()
    assert 0 < difference < {8: 0.3, 4: 0.8}[scheme.bits]


def test_a_checkpoint_of_another_cpu_says_the_same(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    quantize_checkpoint(checkpoint(make_checkpoint, "e2b"), tmp_path / "here", Quantization(4, 32))
    expected = logits(load_model(tmp_path / "here"))
    foreign = Int4Layout(64, is_interleaved=int4_layout().block_rows == 64)
    for file in (tmp_path / "here").glob("*.safetensors"):
        save_file({name: _as_of(foreign, name, tensor) for name, tensor in load_file(file).items()}, file)
    config_file = tmp_path / "here" / "config.json"
    config = json.loads(config_file.read_text())
    config[CONFIG_KEY]["layout"] = {"block_rows": 64, "is_interleaved": foreign.is_interleaved}
    config_file.write_text(json.dumps(config))
    assert torch.equal(logits(load_model(tmp_path / "here")), expected)


def _as_of(layout: Int4Layout, name: str, tensor: Tensor) -> Tensor:
    if not name.endswith(".numbers"):
        return tensor
    return torch.from_numpy(packed_by_formula(unpack(tensor, int4_layout()).numpy(), layout)).contiguous()


def test_the_command_writes_a_checkpoint_with_its_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ensure_tiny("e2b")), str(tmp_path / "q"), "--bits", "4", "--group-size", "32"]) == 0
    output = capsys.readouterr()
    assert "int4, groups of 32" in output.out
    assert "quantising: 100 %" in output.err
    assert (tmp_path / "q" / "tokenizer.json").exists()
    load_multimodal(tmp_path / "q")
    assert main([str(ensure_tiny("e2b")), str(tmp_path / "q")]) == 1
    assert "exists" in capsys.readouterr().err


def test_a_quantised_checkpoint_cannot_be_quantised_otherwise(tmp_path: Path) -> None:
    quantize_checkpoint(ensure_tiny("31b"), tmp_path / "q", Quantization(8))
    with pytest.raises(CheckpointError, match="quantised already"):
        quantize_checkpoint(tmp_path / "q", tmp_path / "again", Quantization(8))
    with pytest.raises(CheckpointError, match="stored as int8, which cannot become int4, groups of 64"):
        load_model(tmp_path / "q", quantization=Quantization(4))
    load_model(tmp_path / "q", quantization=Quantization(8))


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        ({"version": 2}, "version 2"),
        ({"bits": 3}, "8 or 4 bits"),
        ({"group_size": 48}, "group_size"),
        ({"layout": {"rows": 1}}, "layout|rows"),
    ],
)
def test_a_quantisation_that_cannot_be_read_is_told(tmp_path: Path, edit: dict[str, object], complaint: str) -> None:
    quantize_checkpoint(ensure_tiny("31b"), tmp_path / "q", Quantization(8))
    config = json.loads((tmp_path / "q" / "config.json").read_text())
    config[CONFIG_KEY] |= edit
    (tmp_path / "q" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=complaint):
        load_model(tmp_path / "q")


def test_a_stored_weight_that_is_missing_is_named(tmp_path: Path) -> None:
    quantize_checkpoint(ensure_tiny("31b"), tmp_path / "q", Quantization(8))
    index_file = tmp_path / "q" / "model.safetensors.index.json"
    index = json.loads(index_file.read_text())
    del index["weight_map"]["text.blocks.0.feed_forward.mlp.down.weight.numbers"]
    index_file.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"lacks text\.blocks\.0\.feed_forward\.mlp\.down\.weight\.numbers"):
        load_model(tmp_path / "q")


def test_quantised_weights_stay_on_the_cpu() -> None:
    with pytest.raises(CheckpointError, match="on the CPU, not on meta"):
        load_model(ensure_tiny("31b"), quantization=Quantization(8), device="meta")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_quantising_at_load_never_holds_the_float_model(make_checkpoint: MakeCheckpoint) -> None:
    """Anonymous memory grows by a quarter of the 200 MB of floats, and some rows of one weight in floats."""
    path = make_checkpoint("31b", 0, text_only=True, hidden_size=512, intermediate_size=4096, vocab_size=8192)
    code = """
import pathlib, sys, torch
from model.kernels.loading import int4_matmul
from model.quantization.scheme import Quantization
from model.weights import load_model
int4_matmul()  # compiles, which takes memory too
def anonymous():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024
before, peak = anonymous(), 0
def watch(done, total):
    global peak
    peak = max(peak, anonymous() - before)
    watch.total = total
load_model(pathlib.Path(sys.argv[1]), progress=watch, quantization=Quantization(4))
assert watch.total > 150e6, watch.total
assert peak < 0.6 * watch.total, (peak, watch.total)
"""
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=120)
