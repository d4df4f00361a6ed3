"""Int4 weights in groups along the input: value = (number - 8) * scale + zero.

Shapes: M rows of x, O and I output and input size, T rows looked up, G groups of the input with g numbers each,
B rows of a block, N blocks of rows.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from model.kernels.loading import int4_matmul
from model.quantization.format import Packed
from model.quantization.scheme import Int4Layout

_LEVELS, _MIDDLE = 15, 8
_SMALLEST_GROUP = 32
_ROWS_AT_ONCE = 4096
_LOW_HALVES = 0x0F0F0F0F0F0F0F0F
# Up to so many torch's kernel is faster than tiles of floats.
_FEW_ROWS = 128


class Int4Format:
    """Numbers packed as `torch._weight_int4pack_mm_for_cpu` reads them on this CPU: uint8 [O, I / 2].

    Scales are bfloat16 [G, O, 2]: scale and zero point.
    """

    def __init__(self, group_size: int) -> None:
        self._group_size = group_size
        self._fast_matmul = int4_matmul() if _has_wide_layout() else None

    def fits(self, out_size: int, in_size: int) -> bool:
        """See Format."""
        return out_size % 64 == 0 and in_size % _SMALLEST_GROUP == 0

    def empty(self, out_size: int, in_size: int) -> Packed:
        """See Format."""
        numbers = torch.empty(out_size, in_size // 2, dtype=torch.uint8)
        scales = torch.empty(in_size // self._group_of(in_size), out_size, 2, dtype=torch.bfloat16)
        return Packed(numbers, scales)

    def quantize(self, weight_OI: Tensor) -> Packed:
        """See Format. The least of a group becomes 0, the largest 15."""
        packed = self.empty(*weight_OI.shape)
        for start in range(0, len(weight_OI), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            numbers_OI, packed.scales[:, some] = self._quantize_some(weight_OI[some].float())
            packed.numbers[some] = pack(numbers_OI)
        return packed

    def _quantize_some(self, weight_OI: Tensor) -> tuple[Tensor, Tensor]:
        grouped_OGg = weight_OI.view(len(weight_OI), -1, self._group_of(weight_OI.shape[1]))
        low_OG, high_OG = grouped_OGg.aminmax(dim=-1)
        scale_OG = ((high_OG - low_OG) / _LEVELS).clamp_min_(1e-12).bfloat16()
        zero_OG = (low_OG + _MIDDLE * scale_OG.float()).bfloat16()
        # Numbers are found with scale and zero as they are stored, so that their rounding adds no error.
        scaled_OGg = (grouped_OGg - zero_OG[..., None].float()).div_(scale_OG[..., None].float())
        numbers_OGg = scaled_OGg.round_().add_(_MIDDLE).clamp_(0, _LEVELS)
        return numbers_OGg.flatten(1).int(), torch.stack((scale_OG, zero_OG), -1).transpose(0, 1)

    def _group_of(self, in_size: int) -> int:
        group_size = self._group_size
        while in_size % group_size:
            group_size //= 2
        return group_size

    def multiplies(self, num_rows: int, weight: Packed) -> bool:
        """See Format."""
        return num_rows <= _FEW_ROWS or self.is_fast(weight)

    def multiply(self, x_MI: Tensor, weight: Packed) -> Tensor:
        """See Format."""
        if self._fast_matmul is not None and self.is_fast(weight):
            return self._fast_matmul(x_MI, weight.numbers, weight.scales)
        numbers, scales = weight
        out_MO: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x_MI.bfloat16(), numbers, _group_size(weight), scales
        )
        return out_MO.type_as(x_MI)

    def is_fast(self, weight: Packed) -> bool:
        """Is it one that our own kernel reads?"""
        return self._fast_matmul is not None and _group_size(weight) % self._fast_matmul.span == 0

    def tile(self, weight: Packed, outputs: slice, inputs: slice) -> Tensor:
        """See Format."""
        numbers_IO = _unpacked(weight.numbers[outputs], inputs).float()
        group_size = _group_size(weight)
        first, last, _ = inputs.indices(2 * weight.numbers.shape[1])
        groups = slice(first // group_size, last // group_size)
        scale_G1O, offset_G1O = _scale_and_offset(weight.scales[groups, None, outputs])
        grouped_GgO = numbers_IO.view(len(scale_G1O), group_size, -1)
        return torch.addcmul(offset_G1O, grouped_GgO, scale_G1O, out=grouped_GgO).flatten(0, 1)

    def rows(self, weight: Packed, index_T: Tensor) -> Tensor:
        """See Format. Of each row's block only the row is read, which is I numbers far apart."""
        block_rows = int4_layout().block_rows
        blocks_NIb = weight.numbers.view(len(weight.numbers) // block_rows, -1, block_rows // 2)
        place_T = index_T % block_rows
        byte_T, is_high_T = _byte_and_half(place_T)
        bytes_TI = blocks_NIb[index_T // block_rows, :, byte_T]
        numbers_TI = torch.where(is_high_T[:, None], bytes_TI >> 4, bytes_TI & 15).float()
        scale_TG1, offset_TG1 = _scale_and_offset(weight.scales[:, index_T].transpose(0, 1)[..., None, :])
        return (numbers_TI.view(*scale_TG1.shape[:2], -1) * scale_TG1 + offset_TG1).flatten(1)


def pack(numbers_OI: Tensor) -> Tensor:
    """Int32 numbers 0..15 -> uint8 [O, I / 2] as this CPU's kernel reads them; O is a multiple of 64."""
    return torch._convert_weight_to_int4pack_for_cpu(numbers_OI, 1)


def unpack(packed: Tensor, layout: Int4Layout) -> Tensor:
    """The inverse of `pack` on a machine with that layout: int32 [O, I]."""
    bytes_NIb = packed.view(len(packed) // layout.block_rows, -1, layout.block_rows // 2)
    halves = bytes_NIb & 15, bytes_NIb >> 4
    numbers_NIB = torch.stack(halves, -1).flatten(2) if layout.is_interleaved else torch.cat(halves, -1)
    return numbers_NIB.transpose(1, 2).flatten(0, 1).int()


@cache
def int4_layout() -> Int4Layout:
    """Of this CPU: seen by packing rows that hold the digits of their own index."""
    index_O1 = torch.arange(64)[:, None].expand(64, 2)
    ones, sixteens = (pack((index_O1 >> shift & 15).int().contiguous()).flatten().int() for shift in (0, 4))
    low = (ones & 15) + 16 * (sixteens & 15)
    high = (ones >> 4) + 16 * (sixteens >> 4)
    # The second column begins where row 0 comes again.
    second_column = low.tolist().index(0, 1)
    return Int4Layout(2 * second_column, is_interleaved=high[0].item() == 1)


def _has_wide_layout() -> bool:
    """Does this CPU's kernel read what the one of ours does? Models are built under another device."""
    with torch.device("cpu"):
        return int4_layout() == Int4Layout(64, is_interleaved=False)


def _group_size(weight: Packed) -> int:
    return 2 * weight.numbers.shape[1] // len(weight.scales)


def _unpacked(packed: Tensor, inputs: slice) -> Tensor:
    """Numbers of this CPU's layout, transposed: uint8 [inputs, O]."""
    layout = int4_layout()
    if layout.is_interleaved or layout.block_rows % 16:
        return unpack(packed, layout)[:, inputs].to(torch.uint8).t().contiguous()
    # Eight bytes at a time: elements are then few enough to be moved into another order cheaply.
    words_NIw = packed.view(torch.int64).view(len(packed) // layout.block_rows, -1, layout.block_rows // 16)[:, inputs]
    blocks, in_size, num_words = words_NIw.shape
    moved_INhw = torch.empty(in_size, blocks, 2, num_words, dtype=torch.int64)
    moved_INhw[:, :, 0] = (words_NIw & _LOW_HALVES).transpose(0, 1)
    moved_INhw[:, :, 1] = (words_NIw >> 4 & _LOW_HALVES).transpose(0, 1)
    return moved_INhw.flatten(1).view(torch.uint8)


def _scale_and_offset(scales_2: Tensor) -> tuple[Tensor, Tensor]:
    """Float32, for value = number * scale + offset."""
    scale, zero = scales_2.movedim(-1, 0).float().contiguous()
    return scale, zero - _MIDDLE * scale


def _byte_and_half(place_T: Tensor) -> tuple[Tensor, Tensor]:
    """Of a row within its block: which byte of a column, and whether it is its high half."""
    layout = int4_layout()
    if layout.is_interleaved:
        return place_T // 2, place_T % 2 == 1
    half = layout.block_rows // 2
    return place_T % half, place_T >= half
