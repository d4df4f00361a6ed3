"""The Gemma 4 text decoder, all variants, driven by TextConfig.

Shapes: T tokens of all sequences packed together, N of them whose logits are asked for, D hidden,
V vocabulary, P per-layer size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from model.attention import KVCache
from model.block import Block
from model.config import LayerKind, TextConfig
from model.embeddings import PerLayerEmbedding, ScaledEmbedding
from model.layers import Layer, Linear, RMSNorm, scalar
from model.rope import Angles, RotaryEmbedding
from model.soft_rows import SoftTokens

# All blocks in one call: x [T, D], angles by kind of layer, and each layer's own input -> [T, D].
Stack: TypeAlias = Callable[[Tensor, dict[LayerKind, Angles], Sequence[Tensor | None]], Tensor]


class Transformer(Layer):
    """Tokens in, logits out. Everything but the cache's attention treats tokens one by one."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = ScaledEmbedding(config.vocab_size, config.hidden_size, is_head=config.has_tied_embeddings)
        self.per_layer_embedding = PerLayerEmbedding(config) if config.per_layer_size else None
        self.blocks = nn.ModuleList(Block(config, spec) for spec in config.layers)
        self.final_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        # None: the embedding's own weight.
        self.head: Layer | None = None if config.has_tied_embeddings else Linear(config.hidden_size, config.vocab_size)
        self._rotary = {
            kind: RotaryEmbedding(config.attention(kind).rope, config.attention(kind).head_dim)
            for kind in sorted(set(config.layer_kinds))
        }

    @property
    def dtype(self) -> torch.dtype:
        """What activations, keys and values are. Weights may be stored in another type."""
        return self.final_norm.weight.dtype

    def forward(
        self,
        tokens_T: Tensor,
        positions_T: Tensor,
        cache: KVCache,
        logits_at_N: Tensor | None = None,
        soft_tokens: SoftTokens | None = None,
        stack: Stack | None = None,
    ) -> Tensor:
        """Logits, float32 and soft-capped: [N, V] at the indices `logits_at_N` into T, or [T, V] at all.

        `tokens_T` and `positions_T` (place of each token in its own sequence) are int64.
        `soft_tokens` stand in for the embeddings of placeholder tokens, whose ids may lie beyond the vocabulary.
        `stack` does what the blocks would.
        """
        if soft_tokens is not None:
            # Per-layer embeddings know no media: they see padding.
            tokens_T = tokens_T.index_fill(0, soft_tokens.rows_N, self.config.pad_token_id or 0)
        x_TD = self.embedding(tokens_T).to(self.dtype)
        if soft_tokens is not None:
            x_TD = x_TD.index_copy(0, soft_tokens.rows_N, soft_tokens.values_ND.to(x_TD))
        per_layer = self._per_layer_inputs(tokens_T, x_TD)
        angles = {kind: rotary(positions_T, x_TD.dtype) for kind, rotary in self._rotary.items()}
        if stack is not None:
            x_TD = stack(x_TD, angles, per_layer)
        else:
            for block, kind, per_layer_TP in zip(self.blocks, self.config.layer_kinds, per_layer, strict=True):
                x_TD = block(x_TD, angles[kind], cache, per_layer_TP)
        return self._logits(x_TD if logits_at_N is None else x_TD[logits_at_N])

    def assist(self) -> None:
        """Answers other ranks' tokens with the experts held here, for one pass, without tokens of its own."""
        none_0D = self.final_norm.weight.new_empty(0, self.config.hidden_size)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.feed_forward.assist(none_0D)

    def _per_layer_inputs(self, tokens_T: Tensor, embedded_TD: Tensor) -> tuple[Tensor | None, ...]:
        if self.per_layer_embedding is None:
            return (None,) * len(self.blocks)
        inputs: tuple[Tensor, ...] = self.per_layer_embedding(tokens_T, embedded_TD)
        return inputs

    def _logits(self, x_ND: Tensor) -> Tensor:
        project = self.embedding.project if self.head is None else self.head
        logits_NV: Tensor = project(self.final_norm(x_ND)).float()
        cap = self.config.final_logit_softcap
        return logits_NV if cap is None else (logits_NV / scalar(cap)).tanh_().mul_(scalar(cap))
