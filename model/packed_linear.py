"""A linear layer whose 16-bit weight lies in oneDNN's own order: what a CPU with bfloat16 instructions does well.

Shapes: I and O input and output size, N rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.layers import Layer

# The kernel for fewer rows reads the weight more slowly than the one for these.
_FEWEST_ROWS = 4
# With AMX that for 17 to 32 rows is slower, by a fifth, than that for 33.
_SLOW_ROWS = range(17, 33) if torch.cpu._is_amx_tile_supported() else range(0)


class PackedLinear(Layer):
    """x W^T (+ bias), [..., I] -> [..., O], all bfloat16: Linear's twin.

    A matmul with the weight as it is stored puts it into this order first, on each call: for the few rows of a decoding
    batch that takes as long as the matmul itself.
    """

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None = None) -> None:
        super().__init__()
        self._bias = None if bias_O is None else bias_O.detach()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach().contiguous())

    @staticmethod
    def can_hold(weight_OI: Tensor) -> bool:
        """Whether this machine has the kernel for the weight, [..., O, I]."""
        return weight_OI.is_cpu and weight_OI.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()

    def forward(self, x_I: Tensor) -> Tensor:
        """Project the last dimension."""
        rows = x_I.numel() // x_I.shape[-1]
        if rows >= _FEWEST_ROWS and rows not in _SLOW_ROWS:
            return self._multiplied(x_I)
        added = _SLOW_ROWS.stop - rows if rows in _SLOW_ROWS else _FEWEST_ROWS - rows
        padded_NI = F.pad(x_I.reshape(rows, -1), (0, 0, 0, added))
        return self._multiplied(padded_NI)[:rows].view(*x_I.shape[:-1], -1)

    def _multiplied(self, x_I: Tensor) -> Tensor:
        out_O: Tensor = torch.ops.mkldnn._linear_pointwise(x_I, self._packed, self._bias, "none", [], "")
        return out_O
