"""A linear layer with 16-bit weights and 32-bit arithmetic: what an x86 CPU without bfloat16 instructions does well.

Shapes: I and O input and output size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.layers import Layer

_LARGEST = torch.finfo(torch.float16).max


class HalfLinear(Layer):
    """x W^T (+ bias), [..., I] -> [..., O]: x, sums and result are float32, W is float16 in FBGEMM's own order.

    Half of float32's memory, and more than twice as fast for a decoding batch. Every bfloat16 between 6e-5 and 65504
    is a float16 exactly; a smaller one errs by 3e-8 at most, and a weight with a larger one `can_hold` refuses.
    """

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None = None) -> None:
        super().__init__()
        bias = None if bias_O is None else bias_O.detach().float()
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight_OI.detach().float(), bias)

    @staticmethod
    def can_hold(weight_OI: Tensor) -> bool:
        """Whether this machine has the kernel and the weight, [..., O, I], keeps its values in it."""
        is_16_bit = weight_OI.dtype in (torch.bfloat16, torch.float16)
        if not weight_OI.is_cpu or not is_16_bit or "fbgemm" not in torch.backends.quantized.supported_engines:
            return False
        least, most = weight_OI.aminmax()
        return bool(-least <= _LARGEST and most <= _LARGEST)

    def forward(self, x_I: Tensor) -> Tensor:
        """Project the last dimension."""
        out_O: Tensor = torch.ops.quantized.linear_dynamic_fp16(x_I, self._packed)
        return out_O
