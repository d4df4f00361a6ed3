"""The experts as they are trained compute what transformers' own do."""

import pytest
import torch
from transformers.models.gemma4.modeling_gemma4 import Gemma4TextExperts

from model.pocket.family import POCKET_VARIANTS
from model.pocket.training.decoder import Decoder


@pytest.fixture(scope="module")
def experts() -> Gemma4TextExperts:
    """Those of the first layer."""
    torch.manual_seed(0)
    decoder = Decoder(POCKET_VARIANTS["26b-a4b"], is_compiled=False)
    return next(module for module in decoder.modules() if isinstance(module, Gemma4TextExperts))


def test_outputs_and_gradients_equal_those_of_transformers(experts: Gemma4TextExperts) -> None:
    hidden_TD = torch.randn(50, 128, requires_grad=True)
    index_TK = torch.stack([torch.randperm(16)[:2] for _ in range(50)])
    weight_TK = torch.rand(50, 2, requires_grad=True)
    found = []
    for forward in (Gemma4TextExperts.forward, Gemma4TextExperts.forward.__wrapped__):
        output_TD = forward(experts, hidden_TD, index_TK, weight_TK)
        inputs = (hidden_TD, weight_TK, experts.gate_up_proj, experts.down_proj)
        found.append((output_TD, *torch.autograd.grad(output_TD.square().sum(), inputs)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_they_are_what_the_decoder_uses(experts: Gemma4TextExperts) -> None:
    assert experts.config._experts_implementation == "every_expert"
