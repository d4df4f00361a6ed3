"""Packed 16-bit weights give what transformers gives in float32, or, in bfloat16, what they give unpacked."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.full_attention import FullAttention
from model.half_linear import HalfLinear
from model.layers import Linear
from model.moe import Experts
from model.packed_experts import PackedExperts
from model.packed_linear import PackedLinear
from model.runtime.packed_weights import pack_16_bit
from model.transformer import Transformer
from model.weights import load_model
from tests.model.conftest import VARIANT_NAMES, reference_model
from tests.model.test_parity import TOLERANCE, theirs, worst_error

pytestmark = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines, reason="FBGEMM is for x86 alone"
)


def bfloat16_checkpoint(path: Path, variant: str, seed: int) -> Path:
    """Stored in bfloat16. The roots of its widths are whole: embeddings' scales are the same in both types."""
    options = {"hidden_size_per_layer_input": 16} if variant in ("e2b", "e4b") else {}
    reference_model(variant, seed, text_only=True, **options).bfloat16().save_pretrained(path)
    return path


def logits(model: Transformer, tokens: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(tokens, torch.arange(len(tokens)), FullAttention([len(tokens)]))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_logits_are_those_of_the_reference_in_float32(tmp_path: Path, variant: str, seed: int) -> None:
    model = load_model(bfloat16_checkpoint(tmp_path, variant, seed))
    assert model.dtype == torch.bfloat16
    pack_16_bit(model, in_bfloat16=False, smallest=1)
    assert model.dtype == torch.float32
    tokens = torch.randint(0, 280, (40,), generator=torch.Generator().manual_seed(seed))
    assert worst_error(logits(model, tokens), theirs(tmp_path, [tokens])) < TOLERANCE


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_no_large_weight_becomes_wider(tmp_path: Path, variant: str) -> None:
    model = load_model(bfloat16_checkpoint(tmp_path, variant, 0))
    pack_16_bit(model, in_bfloat16=False, smallest=1)
    assert not any(isinstance(module, Linear | Experts) for module in model.modules())
    wide = {name for name, weight in model.named_parameters() if weight.dtype == torch.float32 and weight.dim() > 1}
    assert all(name.endswith("qk_norm") for name in wide)


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_small_weights_become_float32_and_say_the_same(tmp_path: Path, variant: str) -> None:
    model = load_model(bfloat16_checkpoint(tmp_path, variant, 0))
    packed = load_model(tmp_path)
    pack_16_bit(model, in_bfloat16=False, smallest=6000)
    pack_16_bit(packed, in_bfloat16=False, smallest=1)
    kinds = {type(module) for module in model.modules()}
    assert {Linear, HalfLinear} <= kinds
    torch.testing.assert_close(logits(model, torch.arange(30)), logits(packed, torch.arange(30)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("in_bfloat16", [False, True])
def test_a_second_time_changes_nothing(tmp_path: Path, in_bfloat16: bool) -> None:
    model = load_model(bfloat16_checkpoint(tmp_path, "26b-a4b", 0))
    pack_16_bit(model, in_bfloat16=in_bfloat16, smallest=6000)
    before = {name: id(module) for name, module in model.named_modules()}
    pack_16_bit(model, in_bfloat16=in_bfloat16, smallest=6000)
    assert before == {name: id(module) for name, module in model.named_modules()}


def test_a_model_with_a_weight_beyond_float16_is_left_alone(tmp_path: Path) -> None:
    path = bfloat16_checkpoint(tmp_path, "31b", 0)
    model, plain = load_model(path), load_model(path)
    model.blocks[1].feed_forward.mlp.down.weight[3, 5] = 1e5
    plain.blocks[1].feed_forward.mlp.down.weight[3, 5] = 1e5
    pack_16_bit(model, in_bfloat16=False, smallest=1)
    assert torch.equal(logits(model, torch.arange(20)), logits(plain, torch.arange(20)))


def test_a_float32_model_is_left_alone(tmp_path: Path) -> None:
    model = load_model(bfloat16_checkpoint(tmp_path, "e2b", 0), dtype=torch.float32)
    before = {name: id(module) for name, module in model.named_modules()}
    pack_16_bit(model, in_bfloat16=False, smallest=1)
    assert before == {name: id(module) for name, module in model.named_modules()}


@pytest.mark.parametrize("rows", [1, 3, 32, 200])
@pytest.mark.parametrize("seed", range(3))
def test_every_bfloat16_of_usual_size_is_held_exactly(rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = (torch.randn(48, 40, generator=generator) * 10.0 ** torch.randint(-4, 4, (48, 1))).bfloat16()
    x, bias = torch.randn(rows, 40, generator=generator), torch.randn(48, generator=generator)
    expected = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
    actual = HalfLinear(weight, bias)(x).double()
    scale = weight.double().abs().sum(1) * x.abs().max() + 1
    assert ((actual - expected).abs() / scale).max() < 1e-6


@pytest.mark.parametrize("rows", [1, 3, 4, 32, 200])
@pytest.mark.parametrize("seed", range(3))
def test_a_packed_weight_multiplies_as_it_is_stored(rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight, x, bias = (torch.randn(size, generator=generator).bfloat16() for size in ((48, 40), (2, rows, 40), (48,)))
    expected = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
    actual = PackedLinear(weight, bias)(x)
    assert actual.dtype == torch.bfloat16
    # Sums are float32: only the result is rounded.
    torch.testing.assert_close(actual.double(), expected, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_packed_in_bfloat16_the_logits_stay_within_its_rounding(tmp_path: Path, variant: str) -> None:
    path, tokens = bfloat16_checkpoint(tmp_path, variant, 1), torch.arange(40)
    exact = logits(load_model(path, dtype=torch.float32), tokens)
    plain, packed = load_model(path), load_model(path)
    pack_16_bit(packed, in_bfloat16=True, smallest=1)
    assert packed.dtype == torch.bfloat16
    assert not any(isinstance(module, Linear | Experts) for module in packed.modules())
    assert {PackedLinear, PackedExperts} & {type(module) for module in packed.modules()}
    errors = [float((logits(model, tokens).float() - exact).norm() / exact.norm()) for model in (plain, packed)]
    assert errors[1] < 1.5 * errors[0], errors
