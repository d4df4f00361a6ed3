"""The gated MLP. Gate and up projection are one fused weight. Shapes: T tokens, D hidden, F MLP width."""

from __future__ import annotations

from torch import Tensor

from model.layers import Layer, Linear, gelu_gate


class Mlp(Layer):
    """down(gelu_tanh(gate(x)) * up(x))."""

    def __init__(self, hidden_size: int, mlp_size: int) -> None:
        super().__init__()
        self.gate_up = Linear(hidden_size, 2 * mlp_size)
        self.down = Linear(mlp_size, hidden_size)

    def forward(self, x_TD: Tensor) -> Tensor:
        """[T, D] -> [T, D]."""
        out_TD: Tensor = self.down(gelu_gate(self.gate_up(x_TD)))
        return out_TD
