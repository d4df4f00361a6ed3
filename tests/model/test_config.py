"""Configs: both spellings of config.json, stop tokens, derived layers, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers.models.gemma4.configuration_gemma4 import Gemma4Config, Gemma4TextConfig

from model.checkpoint import CheckpointError
from model.config import LayerKind, LayerSpec, ModelConfig, Rope
from model.variants import E2B, VARIANTS
from tests.model.conftest import VARIANT_NAMES, MakeCheckpoint, multimodal_config, text_config

# A config.json in the spelling of published checkpoints.
PUBLISHED: dict[str, Any] = {
    "model_type": "gemma4",
    "dtype": "bfloat16",
    "eos_token_id": [1, 106],
    "text_config": {
        "model_type": "gemma4_text",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "head_dim": 16,
        "global_head_dim": 32,
        "hidden_size_per_layer_input": 0,
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "sliding_window": 8,
    },
    "vision_config": {"model_type": "gemma4_vision", "default_output_length": 140},
    "audio_config": None,
}


def published(**text: Any) -> dict[str, Any]:
    return PUBLISHED | {"text_config": PUBLISHED["text_config"] | text}


def test_global_layers_take_their_own_head_size_heads_and_rope() -> None:
    text = ModelConfig.from_hf(PUBLISHED).text
    assert (text.local.head_dim, text.local.num_kv_heads, text.local.k_is_v) == (16, 2, False)
    assert (text.global_.head_dim, text.global_.num_kv_heads, text.global_.k_is_v) == (32, 1, True)
    assert text.local.rope == Rope(1e4)
    assert text.global_.rope == Rope(1e6, rotated_fraction=0.25)


def test_without_k_equal_v_global_layers_keep_the_local_number_of_heads() -> None:
    assert ModelConfig.from_hf(published(attention_k_eq_v=False)).text.global_.num_kv_heads == 2


def test_layers_are_derived_from_the_pattern() -> None:
    values = published(num_kv_shared_layers=0)
    assert ModelConfig.from_hf(values).text.layers[1:] == (
        LayerSpec(1, LayerKind.LOCAL, 16, 2, False, window=8, mlp_size=96, kv_source=None),
        LayerSpec(2, LayerKind.GLOBAL, 32, 1, True, window=None, mlp_size=96, kv_source=None),
    )


def test_sharing_layers_read_the_last_own_layer_of_their_kind_and_may_be_twice_as_wide() -> None:
    kinds = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    values = published(num_hidden_layers=5, layer_types=kinds, num_kv_shared_layers=2, use_double_wide_mlp=True)
    layers = ModelConfig.from_hf(values).text.layers
    assert [layer.kv_source for layer in layers] == [None, None, None, 1, 2]
    assert [layer.kv_layer for layer in layers] == [0, 1, 2, 1, 2]
    assert [layer.mlp_size for layer in layers] == [96, 96, 96, 192, 192]


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_transformers_spelling_reads_as_the_published_one(variant: str) -> None:
    config = multimodal_config(variant)
    written = config.to_dict()
    assert "per_layer_config" in written["text_config"]
    ours = ModelConfig.from_hf(written)
    assert ModelConfig.from_hf(ours.to_hf()) == ours


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_we_write_transformers_reads_as_the_same_model(variant: str) -> None:
    ours = VARIANTS[variant]
    assert ModelConfig.from_hf(ours.to_hf()) == ours
    assert ModelConfig.from_hf(Gemma4Config(**ours.to_hf()).to_dict()) == ours


def test_absent_keys_take_the_defaults_of_transformers() -> None:
    bare = ModelConfig.from_hf({"model_type": "gemma4_text"})
    assert bare.text == ModelConfig.from_hf(Gemma4TextConfig().to_dict()).text


def test_a_text_only_config_takes_text_alone() -> None:
    assert ModelConfig.from_hf(text_config("31b").to_dict()).modalities == {"text"}


def test_modalities_follow_the_encoders() -> None:
    assert ModelConfig.from_hf(PUBLISHED).modalities == {"text", "image", "video"}
    assert ModelConfig.from_hf(multimodal_config("e2b").to_dict()).modalities == E2B.modalities


def test_generation_config_names_the_stop_tokens_first() -> None:
    assert ModelConfig.from_hf(PUBLISHED, {"eos_token_id": [1, 106, 50]}).eos_token_ids == (1, 106, 50)
    assert ModelConfig.from_hf(PUBLISHED).eos_token_ids == (1, 106)
    assert ModelConfig.from_hf(PUBLISHED | {"eos_token_id": 7}).eos_token_ids == (7,)


def test_a_checkpoint_gives_its_config(make_checkpoint: MakeCheckpoint) -> None:
    config = ModelConfig.from_checkpoint(make_checkpoint("e2b", 0))
    assert config.text.num_layers == 6
    assert config.text.max_position_embeddings == 512
    assert config.eos_token_ids == (1, 106)
    assert config.dtype == "float32"


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"model_type": "llama"}, "model_type is 'llama'"),
        ({}, "model_type is None"),
        (published(hidden_activation="silu"), "hidden_activation 'silu'"),
        (published(use_bidirectional_attention="all"), "causal"),
        (published(layer_types=["full_attention"]), "names 1 layers, num_hidden_layers is 3"),
        (published(layer_types=["chunked"] * 3), "unknown layer_types"),
        (published(rope_parameters={"full_attention": {"rope_type": "yarn"}}), "rope_type 'yarn'"),
        (published(per_layer_config={"0": {"head_dim": 8}}), "differs between local layers"),
        (published(per_layer_config={"2": {"sliding_window": 8}}), "overrides"),
        (published(num_attention_heads=3), "3 query heads cannot share 2"),
        (published(num_kv_shared_layers=3), "num_kv_shared_layers"),
        (published(num_kv_shared_layers=1), "KV-sharing layer"),
        (published(head_dim=15), "head_dim 15 must be even"),
        (published(hidden_size=0), "hidden_size must be above 0"),
        (published(hidden_size="wide"), "malformed"),
        (published(enable_moe_block=True), "malformed"),
        (published(enable_moe_block=True, num_experts=2, top_k_experts=3, moe_intermediate_size=8), "top_k 3"),
        (PUBLISHED | {"vision_config": []}, "malformed"),
    ],
)
def test_a_config_we_cannot_compute_is_refused_by_name(config: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ModelConfig.from_hf(config)


def test_a_refused_config_is_a_checkpoint_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(CheckpointError, match=r"config\.json: model_type is 'llama'"):
        ModelConfig.from_checkpoint(tmp_path)


def test_a_config_json_cannot_say_what_its_spelling_has_no_words_for() -> None:
    config = ModelConfig.from_hf(published(attention_k_eq_v=False, per_layer_config={"2": {"num_key_value_heads": 4}}))
    with pytest.raises(ValueError, match="num_key_value_heads"):
        config.to_hf()


def test_reading_a_config_needs_no_torch(make_checkpoint: MakeCheckpoint) -> None:
    code = (
        "import sys, pathlib; from model.config import ModelConfig; import model.variants, model.weight_map; "
        "ModelConfig.from_checkpoint(pathlib.Path(sys.argv[1])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, make_checkpoint("e2b", 0)], check=True, timeout=60)
