"""Quantised modules do what the float ones do with the dequantised weights."""

from __future__ import annotations

import pytest
import torch

from model.embeddings import ScaledEmbedding
from model.layers import Linear
from model.mlp import Mlp
from model.moe import Experts
from model.quantization.embedding import QuantizedEmbedding
from model.quantization.experts import QuantizedExperts
from model.quantization.format import Format
from model.quantization.int4 import Int4Format
from model.quantization.int8 import Int8Format
from model.quantization.linear import QuantizedLinear
from model.quantization.mlp import QuantizedMlp
from model.quantization.rows import QuantizedRows
from model.quantization.scheme import Quantization
from model.quantization.weight import QuantizedWeight

FORMATS = [Int8Format(), Int4Format(32)]


def whole(weight: QuantizedWeight) -> torch.Tensor:
    return weight.rows(torch.arange(len(weight.numbers)))


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("shape", [(64,), (5, 64), (2, 3, 64), (50, 64)])
def test_a_linear_keeps_leading_dimensions_and_its_bias(weight_format: Format, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    linear = Linear(64, 128, has_bias=True).requires_grad_(False)
    assert linear.bias is not None
    linear.bias.normal_()
    quantized = QuantizedLinear(linear, weight_format)
    quantized.weight.take(linear.weight)
    linear.weight = torch.nn.Parameter(whole(quantized.weight))
    x = torch.randn(shape)
    torch.testing.assert_close(quantized(x), linear(x), atol=0.01, rtol=0.02)


@pytest.mark.parametrize("weight_format", [*FORMATS, Int4Format(256)])
@pytest.mark.parametrize("num_tokens", [1, 32, 33, 100])
@pytest.mark.parametrize("width", [64, 576, 1280])
def test_an_mlp_answers_the_same_by_tiles(weight_format: Format, num_tokens: int, width: int) -> None:
    torch.manual_seed(0)
    mlp = Mlp(256, width).requires_grad_(False)
    parts = [QuantizedLinear(linear, weight_format) for linear in (mlp.gate_up, mlp.down)]
    for part, linear in zip(parts, (mlp.gate_up, mlp.down), strict=True):
        part.weight.take(linear.weight.normal_(std=0.1))
        linear.weight = torch.nn.Parameter(whole(part.weight), requires_grad=False)
    x = torch.randn(num_tokens, 256)
    expected = mlp(x)
    assert (QuantizedMlp(*parts)(x) - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("ends", [[0, 3, 3, 40], [0, 0, 0, 0], [2, 2, 2, 2]])
def test_experts_answer_for_their_own_rows(weight_format: Format, ends: list[int]) -> None:
    torch.manual_seed(0)
    experts = Experts(64, 4, 32).requires_grad_(False)
    quantized = QuantizedExperts(experts, weight_format)
    for mine, theirs in ((quantized.gate_up, experts.gate_up), (quantized.down, experts.down)):
        mine.take(theirs.normal_(std=0.3))
        for expert in range(4):
            packed = mine.of_expert(expert)
            theirs[expert] = weight_format.tile(packed, slice(None), slice(None)).t()
    rows, ends_X = torch.randn(ends[-1], 64), torch.tensor(ends, dtype=torch.int32)
    expected = experts(rows, ends_X)
    assert (quantized(rows, ends_X) - expected).norm() <= 0.02 * expected.norm()


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tied_embedding_looks_up_and_projects(weight_format: Format, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = ScaledEmbedding(128, 64, is_head=True).requires_grad_(False)
    weight = QuantizedWeight(weight_format, 128, 64)
    weight.take(plain.weight)
    embedding = QuantizedEmbedding(plain, weight, dtype)
    plain.weight = torch.nn.Parameter(whole(weight).to(dtype), requires_grad=False)
    tokens, x = torch.tensor([0, 5, 127, 5]), torch.randn(3, 64, dtype=dtype)
    torch.testing.assert_close(embedding(tokens), plain(tokens))
    torch.testing.assert_close(embedding.project(x), plain.project(x), atol=0.01, rtol=0.02)


@pytest.mark.parametrize(("scheme", "bound"), [(Quantization(8), 0.005), (Quantization(4, 32), 0.05)])
@pytest.mark.parametrize("seed", range(3))
def test_rows_of_a_table_err_by_half_a_step_at_most(scheme: Quantization, bound: float, seed: int) -> None:
    table = torch.rand(3000, 96, generator=torch.Generator().manual_seed(seed))
    rows = QuantizedRows(scheme, 3000, 96)
    rows.take(table)
    index = torch.tensor([0, 2999, 17, 1024])
    # Values span 1, in 15 or 255 steps.
    assert (rows.rows(index) - table[index]).abs().max() < bound * 0.8
