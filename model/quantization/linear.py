"""Linear with a quantised weight. Shapes: I and O input and output size."""

from __future__ import annotations

from torch import Tensor, nn

from model.layers import Layer, Linear
from model.quantization.format import Format
from model.quantization.weight import QuantizedWeight


class QuantizedLinear(Layer):
    """x W^T (+ bias), [..., I] -> [..., O]; what `model.layers.Linear` does. The bias stays whole."""

    def __init__(self, linear: Linear, weight_format: Format) -> None:
        super().__init__()
        self.weight = QuantizedWeight(weight_format, *linear.weight.shape)
        self.bias: nn.Parameter | None = linear.bias

    def forward(self, x_I: Tensor) -> Tensor:
        """Project the last dimension."""
        out_O: Tensor = self.weight(x_I.reshape(-1, x_I.shape[-1])).view(*x_I.shape[:-1], -1)
        return out_O if self.bias is None else out_O + self.bias
