"""The gated MLP with quantised weights. Shapes: T tokens, D hidden, F MLP width, f a tile of it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from model.layers import Layer, gelu_gate
from model.quantization.linear import QuantizedLinear
from model.quantization.weight import TILE


class QuantizedMlp(Layer):
    """What `model.mlp.Mlp` does; a long prompt's hidden layer exists a tile at a time, never whole."""

    def __init__(self, gate_up: QuantizedLinear, down: QuantizedLinear) -> None:
        super().__init__()
        self.gate_up = gate_up
        self.down = down

    @staticmethod
    def fits(gate_up: QuantizedLinear) -> bool:
        """Gate and up are tiles of one weight, which may be cut between blocks of 64 rows only."""
        return len(gate_up.weight.whole.numbers) % 128 == 0

    def forward(self, x_TD: Tensor) -> Tensor:
        """[T, D] -> [T, D]."""
        if not all(linear.weight.multiplies(len(x_TD)) for linear in (self.gate_up, self.down)):
            return self._by_tiles(x_TD.float()).type_as(x_TD)
        out_TD: Tensor = self.down(gelu_gate(self.gate_up(x_TD)))
        return out_TD

    def _by_tiles(self, x_TD: Tensor) -> Tensor:
        out_TD, width = x_TD.new_zeros(x_TD.shape), self.gate_up.weight.whole.numbers.shape[0] // 2
        tile_of = self.down.weight.format.tile
        for start in range(0, width, TILE):
            stop, everything = min(start + TILE, width), slice(None)
            gate_Df = tile_of(self.gate_up.weight.whole, slice(start, stop), everything)
            up_Df = tile_of(self.gate_up.weight.whole, slice(width + start, width + stop), everything)
            hidden_Tf = F.gelu(x_TD @ gate_Df, approximate="tanh").mul_(x_TD @ up_Df)
            out_TD.addmm_(hidden_Tf, tile_of(self.down.weight.whole, everything, slice(start, stop)))
        return out_TD
