"""The literals of the four published variants: they are the models whose sizes were published."""

from __future__ import annotations

import pytest
import torch
from transformers.models.gemma4.configuration_gemma4 import Gemma4Config
from transformers.models.gemma4.modeling_gemma4 import Gemma4ForConditionalGeneration

from model.config import LayerKind
from model.transformer import Transformer
from model.variants import A4B_26B, DENSE_31B, E2B, E4B, VARIANTS
from model.weight_map import num_active_parameters, num_parameters, weight_map

PREFIX = "model.language_model."


def reference(variant: str) -> Gemma4ForConditionalGeneration:
    """The whole model, encoders too, as transformers builds it from our literal; no memory behind it."""
    with torch.device("meta"):
        return Gemma4ForConditionalGeneration(Gemma4Config(**VARIANTS[variant].to_hf()))


def count(model: torch.nn.Module, *parts: str) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if not parts or any(s in name for s in parts))


@pytest.mark.parametrize("variant", VARIANTS)
def test_decoder_has_exactly_the_weights_transformers_stores_for_the_same_config(variant: str) -> None:
    ours = {
        piece.name: piece.shape for pieces in weight_map(VARIANTS[variant].text, PREFIX).values() for piece in pieces
    }
    theirs = {n: tuple(t.shape) for n, t in reference(variant).state_dict().items() if n.startswith(PREFIX)}
    assert ours == theirs


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_of_the_built_decoder_is_filled_from_those_weights(variant: str) -> None:
    config = VARIANTS[variant].text
    with torch.device("meta"):
        built = Transformer(config).state_dict()
    filled = weight_map(config, PREFIX)
    assert set(built) == set(filled)
    for name, pieces in filled.items():
        rows = sum(p.rows.stop - p.rows.start if p.rows else p.shape[0] for p in pieces)
        row_shape = tuple(built[name].shape[1:])
        assert built[name].shape[0] == rows
        assert all(p.shape[len(p.shape) - len(row_shape) :] == row_shape for p in pieces)


@pytest.mark.parametrize(("variant", "published"), [("e2b", 5.1e9), ("e4b", 8e9)])
def test_small_variants_have_the_published_total_with_decoder_and_both_encoders(variant: str, published: float) -> None:
    """Counted: text decoder with its per-layer embedding table (tied head once), vision and audio encoders with
    their projections. The encoders are counted on transformers' own modules. Tolerance 1 %: the published
    figures are rounded (5.104e9 and 7.941e9 here)."""
    encoders = count(reference(variant), "vision", "audio")
    assert num_parameters(VARIANTS[variant].text) + encoders == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(("variant", "published"), [("26b-a4b", 25.2e9), ("31b", 30.7e9)])
def test_large_variants_have_the_published_total_in_the_text_decoder_alone(variant: str, published: float) -> None:
    """Counted: the text decoder, tied head once, no vision encoder (0.57e9 more, which these published figures
    leave out). Tolerance 0.2 %: 25.233e9 and 30.697e9 here."""
    assert num_parameters(VARIANTS[variant].text) == pytest.approx(published, rel=0.002)


def test_the_mixture_of_experts_activates_the_published_share() -> None:
    """Counted: the text decoder with 8 of 128 experts, embeddings included (3.823e9; 3.8 published, 1 %)."""
    assert num_active_parameters(A4B_26B.text) == pytest.approx(3.8e9, rel=0.01)
    assert num_active_parameters(DENSE_31B.text) == num_parameters(DENSE_31B.text)


@pytest.mark.parametrize(("variant", "published"), [("e2b", 2.3e9), ("e4b", 4.5e9)])
def test_small_variants_have_the_published_effective_size_without_the_per_layer_table(
    variant: str, published: float
) -> None:
    """Counted: the text decoder less its per-layer embedding table, which is looked up and never multiplied.
    Tolerance 4 %: 2.280e9 and 4.644e9 here; how exactly the second was rounded is not published."""
    text = VARIANTS[variant].text
    table = text.per_layer_vocab_size * text.num_layers * text.per_layer_size
    assert num_parameters(text) - table == pytest.approx(published, rel=0.04)


def test_layer_patterns_share_keys_and_values_where_the_published_models_do() -> None:
    globals_ = [layer.index for layer in E2B.text.layers if layer.kind is LayerKind.GLOBAL]
    assert globals_ == [4, 9, 14, 19, 24, 29, 34]
    assert {layer.kv_source for layer in E2B.text.layers[15:]} == {13, 14}
    assert {layer.kv_source for layer in E4B.text.layers[24:]} == {22, 23}
    assert {layer.mlp_size for layer in E2B.text.layers[15:]} == {12_288}
    assert {layer.mlp_size for layer in E4B.text.layers} == {10_240}


def test_only_the_small_variants_hear() -> None:
    assert E2B.modalities == E4B.modalities == {"text", "image", "video", "audio"}
    assert A4B_26B.modalities == DENSE_31B.modalities == {"text", "image", "video"}
