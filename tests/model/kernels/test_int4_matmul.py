"""The int4 kernel against the same arithmetic in torch, and against torch's own kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from model.kernels.loading import KERNELS, has_tiles, int4_matmul
from model.quantization.format import Packed
from model.quantization.int4 import Int4Format

SPAN = 64
needs_kernel = pytest.mark.skipif(int4_matmul() is None, reason="this CPU has no AVX-512 VNNI")


def weight_of(out_size: int, in_size: int, group_size: int) -> tuple[Int4Format, Packed]:
    weight_format = Int4Format(group_size)
    generator = torch.Generator().manual_seed(out_size + in_size)
    return weight_format, weight_format.quantize(torch.randn(out_size, in_size, generator=generator))


def inputs_of(rows: int, in_size: int) -> Tensor:
    return torch.randn(rows, in_size, generator=torch.Generator().manual_seed(rows))


def product(x: Tensor, weight: Packed) -> Tensor:
    kernel = int4_matmul()
    assert kernel is not None
    return kernel(x, weight.numbers, weight.scales)


def product_by_rows(x: Tensor, weight: Packed) -> Tensor:
    """The plain twin of tiles."""
    from model.kernels.int4_matmul import Int4Matmul

    return Int4Matmul(None)(x, weight.numbers, weight.scales)


def rounded(x: Tensor) -> Tensor:
    """To 255 steps in each span."""
    spans = x.float().view(len(x), -1, SPAN)
    step = spans.abs().amax(-1, keepdim=True) / 127
    return ((spans / step.clamp_min(1e-30)).round() * step).view(len(x), -1)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@needs_kernel
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 33])
@pytest.mark.parametrize(("out_size", "in_size", "group_size"), [(64, 64, 64), (192, 768, 128), (1088, 512, 256)])
def test_it_multiplies_rounded_inputs_by_the_weight(rows: int, out_size: int, in_size: int, group_size: int) -> None:
    weight_format, weight = weight_of(out_size, in_size, group_size)
    x = inputs_of(rows, in_size)
    expected = rounded(x) @ weight_format.tile(weight, slice(None), slice(None))
    torch.testing.assert_close(product(x, weight), expected, rtol=1e-4, atol=1e-3)


@needs_kernel
@pytest.mark.parametrize("rows", [1, 7])
def test_it_agrees_with_the_kernel_of_torch(rows: int) -> None:
    _, weight = weight_of(256, 512, 128)
    x = inputs_of(rows, 512).bfloat16()
    expected = torch.ops.aten._weight_int4pack_mm_for_cpu(x, weight.numbers, 128, weight.scales).float()
    assert (product(x, weight).float() - expected).norm() < 0.01 * expected.norm()


@needs_kernel
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_shorter_floats_are_the_rounded_long_ones(rows: int, dtype: torch.dtype) -> None:
    _, weight = weight_of(128, 256, 64)
    x = inputs_of(rows, 256).to(dtype)
    assert torch.equal(product(x, weight), product(x.float(), weight).to(dtype))


@needs_kernel
@pytest.mark.skipif(not has_tiles(), reason="this CPU has no AMX")
@pytest.mark.parametrize("rows", [20, 31, 32, 65])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("group_size", [64, 128, 512])
def test_tiles_say_to_the_last_bit_what_rows_do(rows: int, dtype: torch.dtype, group_size: int) -> None:
    _, weight = weight_of(320, 1024, group_size)
    x = inputs_of(rows, 1024).to(dtype)
    x[3] *= 1e4
    x[7] = 0
    assert torch.equal(product(x, weight), product_by_rows(x, weight))


@needs_kernel
def test_a_row_does_not_depend_on_the_others() -> None:
    _, weight = weight_of(128, 256, 64)
    x = inputs_of(40, 256)
    together = product(x, weight)
    for count in (1, 2, 3, 4, 6, 24):
        assert torch.equal(product(x[:count], weight), together[:count])
    assert product(x[:0], weight).shape == (0, 128)


@needs_kernel
def test_an_outlier_spoils_its_own_span_only() -> None:
    _, weight = weight_of(64, 256, 64)
    x = inputs_of(1, 256)
    x[0, 3] = 1e4
    first, rest = x.clone(), x.clone()
    first[:, SPAN:] = 0
    rest[:, :SPAN] = 0
    torch.testing.assert_close(product(x, weight), product(first, weight) + product(rest, weight), rtol=1e-5, atol=0.02)
    assert torch.equal(product(torch.zeros(2, 256), weight), torch.zeros(2, 64))


@needs_kernel
def test_inputs_need_not_lie_side_by_side() -> None:
    _, weight = weight_of(64, 128, 64)
    x = inputs_of(6, 256)[:, ::2]
    assert torch.equal(product(x, weight), product(x.contiguous(), weight))


@needs_kernel
def test_any_number_of_threads_says_the_same(one_thread: None) -> None:
    _, weight = weight_of(1088, 512, 256)
    x = inputs_of(40, 512)
    alone = product(x, weight)
    torch.set_num_threads(2)
    assert torch.equal(product(x, weight), alone)


@needs_kernel
def test_several_callers_at_once_do_not_meet() -> None:
    _, weight = weight_of(1088, 512, 256)
    inputs = [inputs_of(rows, 512) for rows in (1, 4, 17, 40)]
    expected = [product(x, weight) for x in inputs]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(20):
            for got, wanted in zip(threads.map(lambda x: product(x, weight), inputs), expected, strict=True):
                assert torch.equal(got, wanted)


def test_it_can_be_turned_off_and_then_nothing_compiles() -> None:
    code = (
        "import sys; from model.kernels.loading import int4_matmul; from model.quantization.int4 import Int4Format;"
        "Int4Format(64); assert int4_matmul() is None; assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {KERNELS: "torch"})
