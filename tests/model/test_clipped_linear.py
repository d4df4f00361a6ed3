"""Clipped linear layers clip what goes in and what comes out."""

from __future__ import annotations

import torch

from model.clipped_linear import ClippedLinear


def layer(**bounds: float) -> ClippedLinear:
    made = ClippedLinear(1, 1, is_clipped=True).requires_grad_(False)
    made.linear.weight.fill_(10.0)
    for name, bound in bounds.items():
        getattr(made, name).fill_(bound)
    return made


def test_bounds_hold_on_both_sides() -> None:
    x_NI = torch.tensor([[-9.0], [-0.5], [0.5], [9.0]])
    made = layer(input_min=-1.0, input_max=2.0, output_min=-7.0, output_max=15.0)
    assert made(x_NI).flatten().tolist() == [-7.0, -5.0, 5.0, 15.0]


def test_a_fresh_layer_does_not_clip() -> None:
    x_NI = torch.tensor([[-1e30], [1e30]])
    assert torch.equal(layer()(x_NI), layer().linear(x_NI))


def test_an_unclipped_layer_has_no_bounds() -> None:
    assert set(ClippedLinear(2, 3, is_clipped=False).state_dict()) == {"linear.weight"}
