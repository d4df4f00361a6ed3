"""Both formats against numpy by formula, and the kernels against the same numbers multiplied as floats."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.quantization.format import Format
from model.quantization.int4 import Int4Format, int4_layout, pack, unpack
from model.quantization.int8 import Int8Format
from model.quantization.scheme import Int4Layout
from model.quantization.weight import QuantizedWeight

FORMATS = [Int8Format(), Int4Format(32), Int4Format(64), Int4Format(128)]
SEEDS = range(3)


def weight_of(seed: int, out_size: int = 192, in_size: int = 256) -> Tensor:
    """Rows of very different sizes, as real weights have."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.rand(out_size, 1, generator=generator) + 0.01
    return torch.randn(out_size, in_size, generator=generator) * sizes


def dequantized(weight_format: Format, weight_OI: Tensor) -> Tensor:
    packed = weight_format.quantize(weight_OI)
    return weight_format.tile(packed, slice(None), slice(None)).t()


def rounded(values: np.ndarray) -> np.ndarray:
    """To bfloat16 and back."""
    return torch.from_numpy(values).bfloat16().float().numpy()  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("group_size", [32, 64, 128, 256])
def test_int4_is_what_its_formula_says(seed: int, group_size: int) -> None:
    weight = weight_of(seed)
    groups = weight.numpy().reshape(192, -1, group_size)
    low, high = groups.min(-1, keepdims=True), groups.max(-1, keepdims=True)
    scale = rounded((high - low) / 15)
    zero = rounded(low + 8 * scale)
    numbers = np.clip(np.round((groups - zero) / scale) + 8, 0, 15)
    expected = ((numbers - 8) * scale + zero).reshape(192, 256)
    np.testing.assert_allclose(dequantized(Int4Format(group_size), weight).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_int8_is_what_its_formula_says(seed: int) -> None:
    weight = weight_of(seed)
    values = weight.numpy()
    scale = rounded(np.abs(values).max(1, keepdims=True) / 127)
    expected = np.clip(np.round(values / scale), -127, 127) * scale
    np.testing.assert_allclose(dequantized(Int8Format(), weight).numpy(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_smaller_groups_and_more_bits_err_less(seed: int) -> None:
    weight = weight_of(seed)
    errors = [(dequantized(f, weight) - weight).norm() / weight.norm() for f in FORMATS]
    assert errors == sorted(errors)
    assert errors[0] < 0.01
    assert errors[-1] < 0.15


@pytest.mark.parametrize("weight_format", FORMATS)
def test_zeros_and_a_single_value_come_back(weight_format: Format) -> None:
    weight = torch.zeros(64, 128)
    weight[3, 5] = 2.0
    assert torch.allclose(dequantized(weight_format, weight), weight, atol=0.01)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("num_rows", [1, 3, 16, 17, 32, 33, 200])
@pytest.mark.parametrize("out_size", [64, 192, 1088])
def test_a_product_is_that_of_the_dequantized_weight(
    seed: int, weight_format: Format, num_rows: int, out_size: int
) -> None:
    weight = weight_of(seed, out_size)
    quantized = QuantizedWeight(weight_format, out_size, 256)
    quantized.take(weight)
    x = torch.randn(num_rows, 256, generator=torch.Generator().manual_seed(seed))
    expected = F.linear(x, dequantized(weight_format, weight))
    # Inputs and outputs of torch's kernels are bfloat16; ours rounds inputs to 8 bits.
    tolerance = 0.02 if quantized.multiplies(num_rows) else 1e-4
    assert (quantized(x) - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_rows", [2, 64])
def test_a_product_has_the_type_of_its_input(weight_format: Format, dtype: torch.dtype, num_rows: int) -> None:
    assert QuantizedWeight(weight_format, 64, 128)(torch.zeros(num_rows, 128, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("weight_format", FORMATS)
def test_a_row_looked_up_is_the_row(weight_format: Format) -> None:
    weight = weight_of(0)
    index = torch.tensor([0, 15, 16, 31, 32, 33, 100, 191, 15])
    rows = weight_format.rows(weight_format.quantize(weight), index)
    torch.testing.assert_close(rows, dequantized(weight_format, weight)[index])


@pytest.mark.parametrize("weight_format", FORMATS)
def test_a_tile_is_a_part_of_the_weight(weight_format: Format) -> None:
    weight = weight_of(0, 192, 1024)
    packed = weight_format.quantize(weight)
    tile = weight_format.tile(packed, slice(64, 192), slice(256, 768))
    torch.testing.assert_close(tile.t(), dequantized(weight_format, weight)[64:192, 256:768])


def packed_by_formula(numbers_OI: np.ndarray, layout: Int4Layout) -> np.ndarray:
    blocks = numbers_OI.reshape(-1, layout.block_rows, numbers_OI.shape[1]).transpose(0, 2, 1)
    half = layout.block_rows // 2
    low, high = (blocks[..., 0::2], blocks[..., 1::2]) if layout.is_interleaved else np.split(blocks, [half], -1)
    return (low | high << 4).astype(np.uint8).reshape(len(numbers_OI), -1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("block_rows", [16, 32, 64])
@pytest.mark.parametrize("is_interleaved", [False, True])
def test_every_layout_can_be_unpacked(block_rows: int, is_interleaved: bool) -> None:
    layout = Int4Layout(block_rows, is_interleaved)
    numbers = np.random.default_rng(0).integers(0, 16, (128, 64))
    packed = torch.from_numpy(packed_by_formula(numbers, layout))
    assert np.array_equal(unpack(packed, layout).numpy(), numbers)


def test_the_layout_of_this_cpu_is_recognised() -> None:
    numbers = torch.randint(0, 16, (192, 64), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    packed = pack(numbers)
    assert np.array_equal(packed.numpy(), packed_by_formula(numbers.numpy(), int4_layout()))
    assert torch.equal(unpack(packed, int4_layout()), numbers)
