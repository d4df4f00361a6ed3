"""Reads the weights of a quantised checkpoint, mapped from disk as the kernels read them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from model.checkpoint import Checkpoint, CheckpointError
from model.file_table import FileTable
from model.quantization.int4 import int4_layout, pack, unpack
from model.quantization.int8 import ALIGNMENT
from model.quantization.scheme import Int4Layout, StoredQuantization
from model.quantization.weight import QuantizedWeight

_ROWS_AT_ONCE = 4096


class StoredWeights:
    """The tensors of a quantised checkpoint by our own names, ready to be the model's parameters and buffers."""

    def __init__(self, checkpoint: Checkpoint, stored: StoredQuantization, prefix: str, dtype: torch.dtype) -> None:
        self._checkpoint, self._prefix, self._dtype = checkpoint, prefix, dtype
        is_foreign = stored.layout is not None and stored.layout != int4_layout()
        self._foreign: Int4Layout | None = stored.layout if is_foreign else None

    def check(self, ours: Mapping[str, Tensor]) -> None:
        """CheckpointError that names a weight which is missing or has another shape."""
        for name, tensor in ours.items():
            stored_name = self._prefix + name
            if stored_name not in self._checkpoint.file_of:
                raise CheckpointError(f"{self._checkpoint.path} lacks {stored_name}")
            shape = self._checkpoint.shape(stored_name)
            if shape != tuple(tensor.shape):
                raise CheckpointError(f"{stored_name} is {list(shape)}, expected {list(tensor.shape)}")

    def table(self, name: str) -> FileTable:
        """For QuantizedRows."""
        return self._checkpoint.table(self._prefix + name)

    def read(self, name: str, owner: nn.Module) -> Tensor:
        """Quantised numbers stay mapped from the file; whole weights are copied in the model's type.

        Numbers in another CPU's layout are packed anew, in memory; so are those that its kernel cannot read in place.
        """
        tensor = self._checkpoint.tensor(self._prefix + name)
        if not isinstance(owner, QuantizedWeight):
            return tensor.to(self._dtype, copy=True)
        if tensor.dtype == torch.int8:
            return _aligned(tensor)
        return _repacked(tensor, self._foreign) if tensor.dtype == torch.uint8 and self._foreign is not None else tensor


def _aligned(numbers: Tensor) -> Tensor:
    """The same, copied where the kernel would fault on it: files that we wrote need no copy, others align to 8."""
    is_faulting = torch.backends.cpu.get_cpu_capability().startswith("AVX512") and numbers.data_ptr() % ALIGNMENT
    return numbers.clone() if is_faulting else numbers


def _repacked(numbers: Tensor, layout: Int4Layout) -> Tensor:
    """[O, I / 2] or [X, O, I / 2]; blocks never cross experts, so those can be rows too."""
    rows = numbers.flatten(0, -2)
    parts = [pack(unpack(some, layout)) for some in torch.split(rows, _ROWS_AT_ONCE)]
    return torch.cat(parts).view(numbers.shape)
