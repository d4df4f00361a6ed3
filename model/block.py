"""One decoder layer: attention, feed-forward, per-layer input, layer scalar.

Shapes: T tokens, D hidden, P per-layer size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.attention import Attention, KVCache
from model.config import LayerSpec, TextConfig
from model.embeddings import PerLayerInput
from model.layers import Layer, RMSNorm, add_rms_norm
from model.mlp import Mlp
from model.moe import MixtureOfExperts
from model.rope import Angles


class FeedForward(Layer):
    """The MLP every layer has and, in a mixture of experts, the routed experts beside it."""

    def __init__(self, config: TextConfig, mlp_size: int) -> None:
        super().__init__()
        self.pre_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config.hidden_size, mlp_size)
        self.post_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.moe = MixtureOfExperts(config, config.moe) if config.moe else None
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps) if config.moe else None

    def forward(self, x_TD: Tensor) -> Tensor:
        """The residual x and what this adds to it, [T, D]."""
        if self.moe is None or self.mlp_norm is None:
            return add_rms_norm(x_TD, self.mlp(self.pre_norm(x_TD)), self.post_norm)
        routed = self.moe.announce(x_TD)
        out_TD = self.mlp_norm(self.mlp(self.pre_norm(x_TD))) + self.moe.answer(x_TD, routed)
        return add_rms_norm(x_TD, out_TD, self.post_norm)

    def assist(self, none_0D: Tensor) -> None:
        """See Transformer.assist."""
        if self.moe is not None:
            self.moe.answer(none_0D, self.moe.announce(none_0D))


class Block(Layer):
    """A decoder layer with pre- and post-norms around each sublayer."""

    def __init__(self, config: TextConfig, spec: LayerSpec) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = Attention(config, spec)
        self.post_attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.feed_forward = FeedForward(config, spec.mlp_size)
        self.per_layer_input = PerLayerInput(config) if config.per_layer_size else None
        self.layer_scalar: Tensor
        self.register_buffer("layer_scalar", torch.ones(1))

    def forward(self, x_TD: Tensor, angles: Angles, cache: KVCache, per_layer_TP: Tensor | None) -> Tensor:
        """[T, D] -> [T, D]."""
        attended_TD = self.attention(self.attention_norm(x_TD), angles, cache)
        x_TD = add_rms_norm(x_TD, attended_TD, self.post_attention_norm)
        x_TD = self.feed_forward(x_TD)
        if self.per_layer_input is not None:
            x_TD = self.per_layer_input(x_TD, per_layer_TP)
        return x_TD * self.layer_scalar
