"""One conformer layer: half a feed-forward, attention, a light convolution, half a feed-forward.

Shapes: T tokens, D hidden.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.audio.attention import RelativeAttention
from model.audio.chunks import Chunks
from model.clipped_linear import ClippedLinear
from model.config import AudioConfig
from model.layers import Layer, RMSNorm, noise, scalar

# These norms do not follow the config's rms_norm_eps; those of the convolution do.
_EPS = 1e-6


def bounded(x_TD: Tensor, bound: float) -> Tensor:
    """x within +-bound, or within what its type can hold if that is less."""
    bound = min(bound, torch.finfo(x_TD.dtype).max)
    return x_TD.clamp(-bound, bound)


class AudioFeedForward(Layer):
    """x + weight * norm(down(silu(up(norm(x)))))."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden, clipped = config.hidden_size, config.has_clipped_linears
        self._weight, self._bound = config.residual_weight, config.gradient_clipping
        self.pre_norm = RMSNorm(hidden, _EPS)
        self.up = ClippedLinear(hidden, 4 * hidden, is_clipped=clipped)
        self.down = ClippedLinear(4 * hidden, hidden, is_clipped=clipped)
        self.post_norm = RMSNorm(hidden, _EPS)

    def forward(self, x_TD: Tensor) -> Tensor:
        """[T, D] -> [T, D]."""
        out_TD = self.down(F.silu(self.up(self.pre_norm(bounded(x_TD, self._bound)))))
        added_TD: Tensor = self.post_norm(bounded(out_TD, self._bound)) * scalar(self._weight)
        return x_TD + added_TD


class LightConvolution(Layer):
    """x + end(silu(norm(causal depthwise convolution(glu(start(norm(x)))))))."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden, clipped = config.hidden_size, config.has_clipped_linears
        self._bound = config.gradient_clipping
        self.pre_norm = RMSNorm(hidden, config.rms_norm_eps)
        self.start = ClippedLinear(hidden, 2 * hidden, is_clipped=clipped)
        self.depthwise = noise(hidden, 1, config.conv_kernel_size)
        self.middle_norm = RMSNorm(hidden, config.rms_norm_eps)
        self.end = ClippedLinear(hidden, hidden, is_clipped=clipped)

    def forward(self, x_TD: Tensor) -> Tensor:
        """[T, D] -> [T, D]."""
        gated_TD = F.glu(self.start(self.pre_norm(x_TD)), dim=-1)
        past = self.depthwise.shape[-1] - 1
        mixed_TD = F.conv1d(F.pad(gated_TD.T[None], (past, 0)), self.depthwise, groups=len(self.depthwise))[0].T
        out_TD: Tensor = x_TD + self.end(F.silu(self.middle_norm(bounded(mixed_TD, self._bound))))
        return out_TD


class ConformerLayer(Layer):
    """The four parts in order, each adding to its input, and a norm at the end."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self._bound = config.gradient_clipping
        self.feed_forward_before = AudioFeedForward(config)
        self.attention_norm = RMSNorm(config.hidden_size, _EPS)
        self.attention = RelativeAttention(config)
        self.post_attention_norm = RMSNorm(config.hidden_size, _EPS)
        self.convolution = LightConvolution(config)
        self.feed_forward_after = AudioFeedForward(config)
        self.final_norm = RMSNorm(config.hidden_size, _EPS)

    def forward(self, x_TD: Tensor, positions_RD: Tensor, chunks: Chunks, visible_UCX: Tensor) -> Tensor:
        """[T, D] -> [T, D]."""
        x_TD = self.feed_forward_before(x_TD)
        normed_TD = self.attention_norm(bounded(x_TD, self._bound))
        attended_TD = self.attention(normed_TD, positions_RD, chunks, visible_UCX)
        x_TD = x_TD + self.post_attention_norm(bounded(attended_TD, self._bound))
        x_TD = self.feed_forward_after(self.convolution(x_TD))
        out_TD: Tensor = self.final_norm(bounded(x_TD, self._bound))
        return out_TD
