"""Laws of the decoder that need no reference: packing, chosen logits, and that no weight is idle."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.full_attention import FullAttention
from model.transformer import Transformer
from model.weights import load_model
from tests.model.conftest import VARIANT_NAMES, MakeCheckpoint


def logits(model: Transformer, *sequences: Tensor, at: Tensor | None = None) -> Tensor:
    lengths = [len(s) for s in sequences]
    positions = torch.cat([torch.arange(length) for length in lengths])
    with torch.inference_mode():
        return model(torch.cat(sequences), positions, FullAttention(lengths), at)


def tokens(length: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 280, (length,), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=VARIANT_NAMES)
def model(make_checkpoint: MakeCheckpoint, request: pytest.FixtureRequest) -> Transformer:
    return load_model(make_checkpoint(request.param, 0), maps_tables=False)


def test_a_sequence_does_not_see_its_neighbours(model: Transformer) -> None:
    left, right = tokens(20, seed=1), tokens(11, seed=2)
    packed = logits(model, left, right)
    torch.testing.assert_close(packed[:20], logits(model, left), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(packed[20:], logits(model, right), rtol=1e-4, atol=1e-4)


def test_a_token_does_not_see_later_ones(model: Transformer) -> None:
    sequence = tokens(20)
    torch.testing.assert_close(logits(model, sequence)[:12], logits(model, sequence[:12]), rtol=1e-4, atol=1e-4)


def test_chosen_logits_are_rows_of_all_logits(model: Transformer) -> None:
    sequence, at = tokens(20), torch.tensor([19, 3, 3])
    torch.testing.assert_close(logits(model, sequence, at=at), logits(model, sequence)[at], rtol=1e-4, atol=1e-4)


def test_logits_stay_inside_the_soft_cap(model: Transformer) -> None:
    cap = model.config.final_logit_softcap
    assert cap is not None
    model.final_norm.weight.mul_(1e3)
    assert logits(model, tokens(20)).abs().max() <= cap


def test_every_weight_changes_the_answer(model: Transformer) -> None:
    sequence = tokens(40)
    before = logits(model, sequence)
    generator = torch.Generator().manual_seed(0)
    weights = model.state_dict()
    # The norm that follows takes the last layer's scale out again.
    del weights[f"blocks.{model.config.num_layers - 1}.layer_scalar"]
    for name, weight in weights.items():
        kept = weight.clone()
        spread = 0.3 * kept.std(correction=0).item() + 0.05
        weight.add_(torch.randn(weight.shape, generator=generator), alpha=spread)
        change = (logits(model, sequence) - before).abs().max()
        weight.copy_(kept)
        assert change > 1e-3, name


def test_the_model_has_no_gradients_and_is_in_eval_mode(model: Transformer) -> None:
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
