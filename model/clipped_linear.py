"""The encoders' linear layer: input and output are clipped to bounds that come with the weights."""

from __future__ import annotations

import torch
from torch import Tensor

from model.layers import Layer, Linear

_BOUNDS = {"input_min": -torch.inf, "input_max": torch.inf, "output_min": -torch.inf, "output_max": torch.inf}


class ClippedLinear(Layer):
    """clip(clip(x) W^T), [..., I] -> [..., O]; a plain linear layer unless `is_clipped`."""

    input_min: Tensor
    input_max: Tensor
    output_min: Tensor
    output_max: Tensor

    def __init__(self, in_size: int, out_size: int, *, is_clipped: bool) -> None:
        super().__init__()
        self.linear = Linear(in_size, out_size)
        self._is_clipped = is_clipped
        for name, bound in _BOUNDS.items() if is_clipped else ():
            self.register_buffer(name, torch.tensor(bound))

    def forward(self, x_I: Tensor) -> Tensor:
        """Project the last dimension."""
        if not self._is_clipped:
            plain_O: Tensor = self.linear(x_I)
            return plain_O
        out_O: Tensor = self.linear(x_I.clamp(self.input_min, self.input_max))
        return out_O.clamp_(self.output_min, self.output_max)
