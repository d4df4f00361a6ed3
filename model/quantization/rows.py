"""A table of quantised rows for lookup alone: each row lies in one piece, so a file gives it in one read.

Shapes: V rows of the table, T of them looked up, D width, W bytes of a packed row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.file_table import FileTable
from model.layers import Layer
from model.quantization.scheme import Quantization

_ROWS_AT_ONCE = 1024
_SMALLEST_GROUP = 32
_quantized = torch.ops.quantized
_PACK = {4: _quantized.embedding_bag_4bit_prepack, 8: _quantized.embedding_bag_byte_prepack}
_UNPACK = {4: _quantized.embedding_bag_4bit_unpack, 8: _quantized.embedding_bag_byte_unpack}


class QuantizedRows(Layer):
    """[V, D], each group of a row as torch's quantised embeddings store it: numbers, then scale and offset."""

    def __init__(self, scheme: Quantization, num_rows: int, dim: int) -> None:
        super().__init__()
        self._bits = scheme.bits
        group_size = dim if scheme.bits == 8 else _group_size(scheme.group_size, dim)
        self._group_bytes = group_size + 8 if scheme.bits == 8 else group_size // 2 + 4
        self.packed: Tensor
        width = dim // group_size * self._group_bytes
        self._group_size = group_size
        self.register_buffer("packed", torch.empty(num_rows, width, dtype=torch.uint8))
        self._table: FileTable | None = None

    def stay_in_file(self, table: FileTable) -> None:
        """Look rows up in a file that holds this module's `packed`."""
        self.packed, self._table = table.tensor(), table

    @staticmethod
    def fits(dim: int) -> bool:
        """Can rows of this width be quantised? Others stay whole."""
        return dim % _SMALLEST_GROUP == 0

    def take(self, weight_VD: Tensor) -> None:
        """Quantise a float table of this shape, on the CPU, a few rows at a time."""
        self.packed = torch.empty(self.packed.shape, dtype=torch.uint8)
        for start in range(0, len(weight_VD), _ROWS_AT_ONCE):
            some_VD = weight_VD[start : start + _ROWS_AT_ONCE].float()
            groups = _PACK[self._bits](some_VD.view(-1, self._group_size))
            self.packed[start : start + _ROWS_AT_ONCE] = groups.view(len(some_VD), -1)

    def rows(self, index_T: Tensor) -> Tensor:
        """These rows as float32, [T, D]."""
        packed_TW = self.packed[index_T] if self._table is None else self._table.rows(index_T)
        floats: Tensor = _UNPACK[self._bits](packed_TW.view(-1, self._group_bytes))
        return floats.view(len(index_T), -1)


def _group_size(wanted: int, dim: int) -> int:
    while dim % wanted:
        wanted //= 2
    return wanted
