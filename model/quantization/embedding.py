"""Embeddings with quantised rows. Shapes: T tokens, N rows of logits, V vocabulary, D width."""

from __future__ import annotations

import torch
from torch import Tensor

from model.embeddings import ScaledEmbedding
from model.layers import Layer
from model.quantization.rows import QuantizedRows
from model.quantization.weight import QuantizedWeight


class QuantizedEmbedding(Layer):
    """What `model.embeddings.ScaledEmbedding` does. As a tied head, `project` needs a QuantizedWeight."""

    def __init__(self, embedding: ScaledEmbedding, weight: QuantizedWeight | QuantizedRows, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = weight
        self._scale = embedding.scale_in(dtype)
        self._dtype = dtype

    def forward(self, tokens_T: Tensor) -> Tensor:
        """Token ids [T] -> [T, D]; only these rows are read and dequantised."""
        return self.weight.rows(tokens_T).to(self._dtype) * self._scale

    def project(self, x_ND: Tensor) -> Tensor:
        """Logits of a head that shares this table: [N, D] -> [N, V]."""
        logits_NV: Tensor = self.weight(x_ND)
        return logits_NV
