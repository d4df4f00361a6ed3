"""A table of a safetensors file that stays there; only the rows that are looked up are read.

Shapes: V rows of the table, T of them looked up, D width.
"""

from __future__ import annotations

import json
import mmap
import os
import weakref
from pathlib import Path

import torch
from torch import Tensor

_DTYPES = {
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I8": torch.int8,
    "U8": torch.uint8,
}
_LENGTH_BYTES = 8


class FileTable:
    """A [V, D] tensor of a file that safetensors has opened before: it has checked the header.

    KeyError if the file has no such tensor or it has a type that models do not use; OSError if it cannot be read.
    """

    def __init__(self, file: Path, name: str) -> None:
        self._descriptor = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        header_size = int.from_bytes(os.pread(self._descriptor, _LENGTH_BYTES, 0), "little")
        entry = json.loads(os.pread(self._descriptor, header_size, _LENGTH_BYTES))[name]
        self.dtype, (self._num_rows, self._width) = _DTYPES[entry["dtype"]], entry["shape"]
        self._first_byte = _LENGTH_BYTES + header_size + entry["data_offsets"][0]
        self._row_bytes = self._width * self.dtype.itemsize

    def rows(self, index_T: Tensor) -> Tensor:
        """These rows, [T, D].

        They are read, not mapped: a system that keeps the file in large pages would count one of those, of two MiB,
        as this process's memory for every row.
        """
        rows = torch.empty(len(index_T), self._row_bytes, dtype=torch.uint8)
        for row, index in zip(rows.numpy(), index_T.tolist(), strict=True):
            if not 0 <= index < self._num_rows:
                raise IndexError(f"row {index} of a table of {self._num_rows}")
            os.preadv(self._descriptor, [row], self._first_byte + index * self._row_bytes)
        return rows.view(self.dtype)

    def tensor(self) -> Tensor:
        """The whole table, a private map of the file."""
        # A map begins at a page.
        skipped = self._first_byte % mmap.ALLOCATIONGRANULARITY
        size = self._num_rows * self._row_bytes
        offset = self._first_byte - skipped
        pages = mmap.mmap(self._descriptor, skipped + size, access=mmap.ACCESS_COPY, offset=offset)
        numbers = torch.frombuffer(pages, dtype=torch.uint8, offset=skipped, count=size)
        return numbers.view(self.dtype).view(self._num_rows, self._width)
