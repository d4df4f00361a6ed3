"""Norm, gate and the cheap module base, each against its plain twin."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from model.layers import Layer, Linear, RMSNorm, add_rms_norm, gelu_gate, gelu_tanh, rms_norm


@pytest.mark.parametrize("shape", [(3, 64), (5, 4, 32), (1, 7)])
@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e4])
def test_rms_norm_equals_torchs(shape: tuple[int, ...], scale: float) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scale
    weight = torch.linspace(0.5, 1.5, shape[-1])
    expected = F.rms_norm(x, shape[-1:], weight, 1e-6)
    torch.testing.assert_close(rms_norm(x, weight, 1e-6), expected, rtol=1e-6, atol=1e-6)


def test_rms_norm_multiplies_the_weight_in_float32_and_rounds_once() -> None:
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight = torch.linspace(0.5, 1.5, 64).bfloat16()
    expected = (F.rms_norm(x.float(), (64,), None, 1e-6) * weight.float()).bfloat16()
    assert torch.equal(rms_norm(x, weight, 1e-6), expected)


def test_rms_norm_of_zeros_is_zeros() -> None:
    assert torch.equal(rms_norm(torch.zeros(2, 8), None, 1e-6), torch.zeros(2, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_normed_addition_is_a_norm_and_an_addition(scale: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, residual = (torch.randn(5, 64, generator=generator).to(dtype) * scale for _ in range(2))
    norm = RMSNorm(64, 1e-6).to(dtype)
    norm.weight.data.uniform_(0.5, 1.5, generator=generator)
    expected = residual + F.rms_norm(x.float(), (64,), norm.weight.float(), 1e-6).to(dtype)
    torch.testing.assert_close(add_rms_norm(residual, x, norm), expected)


@pytest.mark.parametrize("shape", [(3, 5), (2, 8192), (9000,)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_gelu_equals_torchs_tanh_approximation(shape: tuple[int, ...], scale: float) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scale
    torch.testing.assert_close(gelu_tanh(x), F.gelu(x, approximate="tanh"), rtol=1e-5, atol=1e-6)


def test_gelu_gate_takes_the_first_half_as_the_gate() -> None:
    fused = torch.tensor([[1.0, -1.0, 10.0, 100.0]])
    expected = F.gelu(torch.tensor([[1.0, -1.0]]), approximate="tanh") * torch.tensor([[10.0, 100.0]])
    torch.testing.assert_close(gelu_gate(fused), expected)


class Pair(Layer):
    """Two layers and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = RMSNorm(4, 1e-6)
        self.linear = Linear(4, 4, has_bias=True)
        self.register_buffer("scale", torch.ones(1))


def assert_in_step(pair: Pair) -> None:
    for layer in (pair.norm, pair.linear, pair):
        for registry in (layer._parameters, layer._buffers, layer._modules):
            assert all(layer.__dict__[name] is value for name, value in registry.items())


def test_plain_attributes_follow_the_registered_ones() -> None:
    pair = Pair()
    assert_in_step(pair)
    assert_in_step(pair.to(torch.bfloat16))
    assert pair.norm.weight.dtype == torch.bfloat16
    assert_in_step(pair.to("meta"))
    assert pair.scale.is_meta
    assert_in_step(copy.deepcopy(pair))


def test_plain_attributes_follow_a_loaded_state() -> None:
    pair, other = Pair(), Pair()
    pair.load_state_dict(other.state_dict(), assign=True)
    assert_in_step(pair)
    assert torch.equal(pair.linear.weight, other.linear.weight)
