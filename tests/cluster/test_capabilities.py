"""What a variant can do comes from its checkpoint's files alone."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.capabilities import count_parameters, display_name, read_capabilities
from cluster.config import ConfigError, VariantConfig
from model.checkpoint import CheckpointError
from model.config import ModelConfig
from model.tiny import TINY_VARIANTS, write_tiny
from model.variants import VARIANTS
from model.weights import num_active_parameters, num_parameters

GEMMA_SAMPLING = {"do_sample": True, "temperature": 1.0, "top_k": 64, "top_p": 0.95}


def write_config(folder: Path, config: ModelConfig = VARIANTS["e2b"], generation: dict[str, Any] | None = None) -> Path:
    """A checkpoint folder as a gateway has it: without weights."""
    (folder / "config.json").write_text(json.dumps(config.to_hf()))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def write_safetensors(file: Path, shapes: dict[str, list[int]]) -> None:
    header = {name: {"dtype": "U8", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    raw = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    file.write_bytes(len(raw).to_bytes(8, "little") + raw)


@pytest.mark.parametrize(
    ("variant", "modalities", "active", "cost"),
    [
        # Published: 2.3 B effective, 4.5 B effective, 3.8 B active, 30.7 B dense.
        ("e2b", {"text", "image", "video", "audio"}, 2.3e9, 2.3),
        ("e4b", {"text", "image", "video", "audio"}, 4.5e9, 4.5),
        ("26b-a4b", {"text", "image", "video"}, 3.8e9, 3.8),
        ("31b", {"text", "image", "video"}, 30.7e9, 30.7),
    ],
)
def test_the_published_variants(tmp_path: Path, variant: str, modalities: set[str], active: float, cost: float) -> None:
    folder = write_config(tmp_path, VARIANTS[variant], GEMMA_SAMPLING)
    can = read_capabilities(variant, VariantConfig(), folder, f"google/gemma-4-{variant}-it")
    assert (can.name, can.checkpoint, can.engine) == (variant, f"google/gemma-4-{variant}-it", "native")
    assert can.modalities == modalities
    assert can.active_parameters == pytest.approx(active, rel=0.04)
    assert can.cost == pytest.approx(cost, rel=0.04)
    assert can.total_parameters == pytest.approx(num_parameters(VARIANTS[variant].text), rel=1e-6)
    assert (can.default_temperature, can.default_top_k, can.default_top_p) == (1.0, 64, 0.95)


@pytest.mark.parametrize("variant", TINY_VARIANTS)
def test_headers_and_config_agree_about_the_decoder(tmp_path: Path, variant: str) -> None:
    text = TINY_VARIANTS[variant].text
    write_tiny(variant, tmp_path / variant)
    total, active = count_parameters(tmp_path / variant, text)
    without_weights = count_parameters(tmp_path, text)
    assert active == without_weights[1]
    assert total > without_weights[0]  # the encoders are there too
    table = text.per_layer_vocab_size * text.num_layers * text.per_layer_size
    # Layer scalars are stored, though they are no parameters.
    assert active == num_active_parameters(text) - table + text.num_layers


def test_parameters_are_counted_over_all_shards_by_what_they_do(tmp_path: Path) -> None:
    text = TINY_VARIANTS["26b-a4b"].text
    assert text.moe is not None
    moe = replace(text.moe, num_experts=4, top_k=1)
    write_safetensors(
        tmp_path / "model-00001-of-00002.safetensors",
        {
            "model.language_model.layers.0.experts.down_proj": [4, 10, 10],
            "model.language_model.embed_tokens.weight": [7],
        },
    )
    write_safetensors(
        tmp_path / "model-00002-of-00002.safetensors",
        {
            "model.language_model.embed_tokens_per_layer.weight": [1000],
            "model.vision_tower.x": [10, 2],
            "model.embed_audio.y": [3],
            "model.language_model.layers.0.layer_scalar": [],
        },
    )
    assert count_parameters(tmp_path, replace(text, moe=moe)) == (400 + 7 + 1000 + 20 + 3 + 1, 100 + 7 + 1)


def test_a_context_is_the_checkpoints_up_to_a_bound_and_configurable_below(tmp_path: Path) -> None:
    folder = write_config(tmp_path)

    def limits(**config: int) -> tuple[int, int]:
        can = read_capabilities("e2b", VariantConfig(**config), folder, "x")
        return can.context_tokens, can.max_output_tokens

    assert limits() == (32_768, 32_768)
    assert limits(max_context_tokens=131_072) == (131_072, 131_072)
    assert limits(max_context_tokens=1000, max_output_tokens=200) == (1000, 200)
    assert limits(max_context_tokens=1000, max_output_tokens=5000) == (1000, 1000)
    with pytest.raises(ConfigError, match=r"variants\.e2b\.max_context_tokens: 131073 .* 131072"):
        limits(max_context_tokens=131_073)


def test_a_context_is_never_longer_than_what_the_cache_holds(tmp_path: Path) -> None:
    folder = write_config(tmp_path)
    assert read_capabilities("e2b", VariantConfig(kv_cache_tokens=4000), folder, "x").context_tokens == 4000
    with pytest.raises(ConfigError, match=r"variants\.e2b\.kv_cache_tokens: 4000 cannot hold .* 5000"):
        read_capabilities("e2b", VariantConfig(kv_cache_tokens=4000, max_context_tokens=5000), folder, "x")


def test_a_short_checkpoint_has_its_own_context(tmp_path: Path) -> None:
    config = VARIANTS["e2b"]
    short = replace(config, text=replace(config.text, max_position_embeddings=2048))
    assert read_capabilities("x", VariantConfig(), write_config(tmp_path, short), "x").context_tokens == 2048


def test_configuration_decides_engine_and_cost(tmp_path: Path) -> None:
    can = read_capabilities("e2b", VariantConfig(engine="echo", cost=0), write_config(tmp_path), "x")
    assert (can.engine, can.cost) == ("echo", 0)


@pytest.mark.parametrize(
    ("generation", "defaults"),
    [
        (None, (1.0, None, None)),
        ({}, (1.0, None, None)),
        (GEMMA_SAMPLING, (1.0, 64, 0.95)),
        ({"temperature": 0.3, "top_k": 0}, (0.3, None, None)),
        ({"do_sample": False, "temperature": 0.3}, (0.0, None, None)),
        ({"temperature": None, "top_k": None, "top_p": None}, (1.0, None, None)),
    ],
)
def test_sampling_defaults_are_the_checkpoints(
    tmp_path: Path, generation: dict[str, Any] | None, defaults: tuple[float, int | None, float | None]
) -> None:
    can = read_capabilities("x", VariantConfig(), write_config(tmp_path, generation=generation), "x")
    assert (can.default_temperature, can.default_top_k, can.default_top_p) == defaults


def test_broken_files_are_errors_that_name_them(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_capabilities("x", VariantConfig(), tmp_path, "x")
    write_config(tmp_path, generation={"temperature": "hot"})
    with pytest.raises(CheckpointError, match=r"generation_config\.json: .* must be numbers"):
        read_capabilities("x", VariantConfig(), tmp_path, "x")
    write_config(tmp_path, generation={})
    for header in (b"not json", b"[1]", b'{"x": {}}', b'{"x": {"shape": "?"}}'):
        (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(CheckpointError, match=r"model\.safetensors is not a readable"):
            read_capabilities("x", VariantConfig(), tmp_path, "x")
    for cut_short in (b"", b"\xff" * 8, (2).to_bytes(8, "little")):
        (tmp_path / "model.safetensors").write_bytes(cut_short)
        with pytest.raises(CheckpointError, match=r"model\.safetensors is not a readable"):
            read_capabilities("x", VariantConfig(), tmp_path, "x")


@pytest.mark.parametrize(
    ("checkpoint", "shown"),
    [
        ("tiny:e2b", "Gemma 4 E2B (tiny)"),
        ("tiny:26b-a4b", "Gemma 4 26B-A4B (tiny)"),
        ("google/gemma-4-26B-A4B-it", "Gemma 4 26B A4B it"),
        ("/models/my_gemma/", "My gemma"),
    ],
)
def test_display_names_come_from_the_checkpoints_name(checkpoint: str, shown: str) -> None:
    assert display_name(checkpoint) == shown


def test_a_folder_with_weights_is_read_without_torch(tmp_path: Path) -> None:
    write_tiny("e2b", tmp_path / "e2b")
    code = f"""
import pathlib, sys
from cluster.capabilities import read_capabilities
from cluster.config import VariantConfig
read_capabilities("e2b", VariantConfig(), pathlib.Path({str(tmp_path / "e2b")!r}), "tiny:e2b")
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
