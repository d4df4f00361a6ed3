"""Rotary embedding: rotations, by the right angles, of the right pairs."""

from __future__ import annotations

import pytest
import torch

from model.config import Rope
from model.rope import RotaryEmbedding, inverse_frequencies, rotate

LOCAL = Rope(theta=10_000.0)
GLOBAL = Rope(theta=1_000_000.0, rotated_fraction=0.25)


def heads(num_tokens: int, head_dim: int) -> torch.Tensor:
    return torch.randn(num_tokens, 2, head_dim, generator=torch.Generator().manual_seed(0))


def test_frequencies_fall_from_one_by_powers_of_theta() -> None:
    torch.testing.assert_close(inverse_frequencies(LOCAL, 8), torch.tensor([1.0, 0.1, 0.01, 0.001]))


def test_partial_rope_takes_its_exponents_over_the_full_head() -> None:
    frequencies = inverse_frequencies(Rope(theta=10_000.0, rotated_fraction=0.5), 8)
    torch.testing.assert_close(frequencies, torch.tensor([1.0, 0.1, 0.0, 0.0]))


def test_a_factor_slows_every_pair() -> None:
    slowed = inverse_frequencies(Rope(theta=10_000.0, factor=2.0), 8)
    torch.testing.assert_close(slowed, torch.tensor([0.5, 0.05, 0.005, 0.0005]))


def test_element_i_turns_with_the_one_half_a_head_later() -> None:
    quarter_turn = RotaryEmbedding(Rope(theta=1.0), 4)(torch.tensor([1]), torch.float32)
    turned = rotate(torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), quarter_turn)
    cos, sin = torch.cos(torch.tensor(1.0)), torch.sin(torch.tensor(1.0))
    torch.testing.assert_close(turned[0, 0], torch.stack([cos, torch.zeros(()), sin, torch.zeros(())]))


@pytest.mark.parametrize("rope", [LOCAL, GLOBAL])
def test_position_zero_changes_nothing_and_no_position_changes_length(rope: Rope) -> None:
    x = heads(3, 16)
    turned = rotate(x, RotaryEmbedding(rope, 16)(torch.tensor([0, 5, 100_000]), torch.float32))
    torch.testing.assert_close(turned[0], x[0])
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


@pytest.mark.parametrize("rope", [LOCAL, GLOBAL])
def test_scores_depend_on_distance_alone(rope: Rope) -> None:
    q, k = heads(1, 16), heads(1, 16).flip(-1)
    rotary = RotaryEmbedding(rope, 16)

    def score(q_at: int, k_at: int) -> torch.Tensor:
        q_turned = rotate(q, rotary(torch.tensor([q_at]), torch.float32))
        return (q_turned * rotate(k, rotary(torch.tensor([k_at]), torch.float32))).sum(-1)

    torch.testing.assert_close(score(7, 3), score(107, 103), rtol=1e-3, atol=1e-3)


def test_pairs_past_the_rotated_fraction_stay_as_they_are() -> None:
    x = heads(1, 16)
    turned = rotate(x, RotaryEmbedding(GLOBAL, 16)(torch.tensor([9]), torch.float32))
    still = [2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15]
    assert torch.equal(turned[..., still], x[..., still])
    assert not torch.equal(turned, x)


def test_angles_of_a_model_built_on_meta_are_real_and_float32() -> None:
    with torch.device("meta"):
        rotary = RotaryEmbedding(LOCAL, 8)
    cos, _ = rotary(torch.tensor([100_003]), torch.float32)
    torch.testing.assert_close(cos[0, 0, 0], torch.tensor(100_003.0).cos())
