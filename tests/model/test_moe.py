"""Routing, dispatch and experts against a plain loop over tokens."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import MoeConfig
from model.dispatch import LocalDispatcher
from model.layers import rms_norm
from model.moe import Experts, Router, Routing, _by_gather, _by_kernel


def randomized(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.normal_(0, parameter.shape[-1] ** -0.5, generator=generator)
    return module.requires_grad_(False)


def tokens(count: int, size: int) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(1))


def plain_experts(experts: Experts, x: Tensor, routing: Routing) -> Tensor:
    """One token and one expert at a time, as the definition reads."""
    out = torch.zeros_like(x)
    for token, (chosen, weights) in enumerate(zip(*routing, strict=True)):
        for expert, weight in zip(chosen.tolist(), weights, strict=True):
            gate, up = (experts.gate_up[expert] @ x[token]).chunk(2)
            out[token] += weight * (experts.down[expert] @ (F.gelu(gate, approximate="tanh") * up))
    return out


@pytest.mark.parametrize(("num_tokens", "hidden", "width"), [(1, 16, 8), (9, 16, 12), (40, 16, 7), (5, 13, 8)])
def test_experts_equal_a_plain_loop_over_tokens(num_tokens: int, hidden: int, width: int) -> None:
    experts, router = Experts(hidden, 6, width), Router(hidden, MoeConfig(6, 2, width), 1e-6)
    randomized(experts)
    randomized(router)
    x = tokens(num_tokens, hidden)
    routing, dispatcher = router(x), LocalDispatcher(6)
    dispatched = dispatcher.dispatch(x, dispatcher.announce(routing.experts_TK))
    actual = dispatcher.combine(experts(dispatched.rows_RD, dispatched.ends_X), dispatched, routing.weights_TK)
    torch.testing.assert_close(actual, plain_experts(experts, x, routing), rtol=1e-5, atol=1e-5)


def test_router_takes_the_most_probable_experts_and_renormalises_before_the_per_expert_scale() -> None:
    router = Router(16, MoeConfig(6, 2, 8), 1e-6)
    randomized(router)
    x = tokens(5, 16)
    scores = (rms_norm(x, router.scale, 1e-6) * 16**-0.5) @ router.projection.weight.T
    best, experts = scores.softmax(-1).topk(2)
    expected = best / best.sum(-1, keepdim=True) * router.per_expert_scale[experts]
    routing = router(x)
    assert torch.equal(routing.experts_TK, experts)
    torch.testing.assert_close(routing.weights_TK, expected)


def test_the_grouped_kernel_equals_its_twin_when_some_experts_have_no_rows() -> None:
    rows, weight = tokens(7, 16), torch.randn(5, 12, 16, generator=torch.Generator().manual_seed(2))
    ends = torch.tensor([0, 3, 3, 7, 7], dtype=torch.int32)
    torch.testing.assert_close(_by_kernel(rows, weight, ends), _by_gather(rows, weight, ends), rtol=1e-5, atol=1e-5)


def test_dispatch_groups_rows_by_expert_and_combine_brings_them_home() -> None:
    x, experts = tokens(4, 8), torch.tensor([[2, 0], [0, 3], [3, 2], [0, 2]])
    dispatcher = LocalDispatcher(5)
    dispatched = dispatcher.dispatch(x, dispatcher.announce(experts))
    assert dispatched.ends_X.tolist() == [3, 3, 6, 8, 8]
    assert torch.equal(dispatched.rows_RD[:3], x[[0, 1, 3]])
    home = dispatcher.combine(dispatched.rows_RD, dispatched, torch.tensor([[0.25, 0.5]]).expand(4, 2))
    torch.testing.assert_close(home, 0.75 * x)
