"""Attention of the audio tower: within chunks and a little before them, with relative positions.

Shapes: T tokens, D hidden, R relative positions, U chunks, C tokens of a chunk, X tokens of its context, H heads,
E head dimension.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.audio.chunks import Chunks
from model.clipped_linear import ClippedLinear
from model.config import AudioConfig
from model.layers import Layer, Linear

_LONGEST_TIMESCALE = 10_000.0


def relative_positions(config: AudioConfig) -> Tensor:
    """Sines, then cosines, of the distances from half a context down to 0: [R, D], float32 on the CPU."""
    num_scales = config.hidden_size // 2
    step = math.log(_LONGEST_TIMESCALE) / max(num_scales - 1, 1)
    context_size = config.chunk_size + config.context_left - 1 + config.context_right
    with torch.inference_mode(False):
        frequencies = torch.exp(torch.arange(num_scales, device="cpu") * -step)
        distances_R1 = torch.arange(context_size // 2, -1, -1, device="cpu")[:, None]
        angles = distances_R1 * frequencies
        return torch.cat((angles.sin(), angles.cos()), -1)


class RelativeAttention(Layer):
    """Soft-capped scores of content plus position; computed in float32 whatever the weights' type."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        hidden, clipped = config.hidden_size, config.has_clipped_linears
        self._heads = (config.num_heads, hidden // config.num_heads)
        self._cap, self._invalid = config.logit_cap, config.invalid_logit
        self._query_scale: float = self._heads[1] ** -0.5 / math.log(2)
        self._key_scale: float = math.log(1 + math.e) / math.log(2)
        self.query = ClippedLinear(hidden, hidden, is_clipped=clipped)
        self.key = ClippedLinear(hidden, hidden, is_clipped=clipped)
        self.value = ClippedLinear(hidden, hidden, is_clipped=clipped)
        self.out = ClippedLinear(hidden, hidden, is_clipped=clipped)
        self.relative_key = Linear(hidden, hidden)
        self.query_scale = nn.Parameter(torch.zeros(self._heads[1]))

    def forward(self, x_TD: Tensor, positions_RD: Tensor, chunks: Chunks, visible_UCX: Tensor) -> Tensor:
        """[T, D] -> [T, D]."""
        q_THE, k_THE, v_THE = (
            project(x_TD).float().unflatten(-1, self._heads) for project in (self.query, self.key, self.value)
        )
        scale_E = F.softplus(self.query_scale.float()) * self._query_scale
        q_HUCE = chunks.split(q_THE * scale_E).permute(2, 0, 1, 3)
        k_HUEX = chunks.contexts(k_THE * self._key_scale).permute(2, 0, 3, 1)
        scores_HUCX = q_HUCE @ k_HUEX + self._position_scores(q_HUCE, positions_RD, chunks)
        scores_HUCX = (scores_HUCX / self._cap).tanh_().mul_(self._cap).masked_fill_(~visible_UCX, self._invalid)
        mixed_HUCE = scores_HUCX.softmax(-1) @ chunks.contexts(v_THE).permute(2, 0, 1, 3)
        mixed_TD = mixed_HUCE.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)[: len(x_TD)]
        out_TD: Tensor = self.out(mixed_TD.type_as(x_TD))
        return out_TD

    def _position_scores(self, q_HUCE: Tensor, positions_RD: Tensor, chunks: Chunks) -> Tensor:
        key_RHE = self.relative_key(positions_RD).float().unflatten(-1, self._heads)
        return chunks.align(q_HUCE @ key_RHE.permute(1, 2, 0)[:, None])
