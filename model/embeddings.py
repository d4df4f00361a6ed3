"""Token embeddings and per-layer embeddings (PLE): the second, small embedding that feeds every layer.

Shapes: T tokens, V vocabulary, D hidden, L layers, P per-layer size.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import TextConfig
from model.file_table import FileTable
from model.layers import Layer, Linear, RMSNorm, add_rms_norm, gelu_tanh, noise, scalar

_TOKENS_AT_ONCE = 32


@lru_cache
def _rounded(scale: float, dtype: torch.dtype) -> float:
    """The scale as the model met it in training, rounded to the weights' type: 55.43 is 55.5 in bfloat16."""
    return float(torch.tensor(scale, dtype=dtype, device="cpu"))


class ScaledEmbedding(Layer):
    """An embedding table whose rows come out multiplied by sqrt of their width (or of `scale_dim`)."""

    def __init__(self, num_rows: int, dim: int, scale_dim: int | None = None, *, is_head: bool = False) -> None:
        super().__init__()
        self.is_head = is_head
        self.weight = noise(num_rows, dim)
        self._scale: float = (scale_dim or dim) ** 0.5
        self._table: FileTable | None = None
        self._dtype: torch.dtype | None = None

    def stay_in_file(self, table: FileTable, dtype: torch.dtype) -> None:
        """Look rows up in a file, and give them out in this type. The weight becomes a map of that file."""
        self.weight = nn.Parameter(table.tensor(), requires_grad=False)
        self._table, self._dtype = table, dtype

    def scale_in(self, dtype: torch.dtype) -> Tensor:
        """What rows are multiplied by in a model of this type."""
        return scalar(_rounded(self._scale, dtype))

    def forward(self, tokens_T: Tensor) -> Tensor:
        """Token ids [T] -> [T, dim]."""
        dtype = self._dtype or self.weight.dtype
        rows_TD = F.embedding(tokens_T, self.weight) if self._table is None else self._table.rows(tokens_T)
        return rows_TD.to(dtype) * self.scale_in(dtype)

    def project(self, x_ND: Tensor) -> Tensor:
        """The table as a tied head: [N, dim] -> [N, rows]."""
        return F.linear(x_ND, self.weight)


class PerLayerEmbedding(Layer):
    """Each layer's extra input: a table lookup by token id plus a projection of the token's embedding."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        packed_size = config.num_layers * config.per_layer_size
        self._shape = (config.num_layers, config.per_layer_size)
        self._context_scale: float = config.hidden_size**-0.5
        self.table = ScaledEmbedding(config.per_layer_vocab_size, packed_size, config.per_layer_size)
        self.context = Linear(config.hidden_size, packed_size)
        self.context_norm = RMSNorm(config.per_layer_size, config.rms_norm_eps)

    def forward(self, tokens_T: Tensor, embedded_TD: Tensor) -> tuple[Tensor, ...]:
        """One [T, P] per layer, for all layers at once."""
        mixed_TLP = embedded_TD.new_empty(len(tokens_T), *self._shape)
        # Some tokens at a time: all layers' inputs of a long prompt are large, and so is each step on the way.
        for start in range(0, len(tokens_T), _TOKENS_AT_ONCE):
            some = slice(start, start + _TOKENS_AT_ONCE)
            mixed_TLP[some] = self._mixed(tokens_T[some], embedded_TD[some])
        inputs: tuple[Tensor, ...] = mixed_TLP.unbind(1)
        return inputs

    def _mixed(self, tokens_T: Tensor, embedded_TD: Tensor) -> Tensor:
        token_TLP = self.table(tokens_T).unflatten(-1, self._shape)
        context_TLP = (self.context(embedded_TD) * scalar(self._context_scale)).unflatten(-1, self._shape)
        mixed_TLP: Tensor = (self.context_norm(context_TLP) + token_TLP) * scalar(2.0**-0.5)
        return mixed_TLP


class PerLayerInput(Layer):
    """How a layer takes its extra input in: a gate from the hidden state, a projection back, a norm."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate = Linear(config.hidden_size, config.per_layer_size)
        self.projection = Linear(config.per_layer_size, config.hidden_size)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x_TD: Tensor, per_layer_TP: Tensor) -> Tensor:
        """x and what this adds to it, [T, D]."""
        gated_TP = gelu_tanh(self.gate(x_TD)).mul_(per_layer_TP)
        return add_rms_norm(x_TD, self.projection(gated_TP), self.norm)
