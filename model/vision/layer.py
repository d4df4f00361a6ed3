"""One layer of the vision tower: attention of all patches to all, then a gated MLP, each between two norms.

Shapes: B images, P patches, D hidden, H query heads, K key/value heads, E head dimension.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from model.clipped_linear import ClippedLinear
from model.config import VisionConfig
from model.layers import Layer, RMSNorm, rms_norm
from model.rope import Angles
from model.vision.rope import rotate_axes


class VisionAttention(Layer):
    """Bidirectional attention of scale 1: norms of queries and keys set its temperature."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        hidden, head_dim, clipped = config.hidden_size, config.head_dim, config.has_clipped_linears
        self._head_dim, self._eps = head_dim, config.rms_norm_eps
        self._is_grouped = config.num_heads != config.num_kv_heads
        self.query = ClippedLinear(hidden, config.num_heads * head_dim, is_clipped=clipped)
        self.key = ClippedLinear(hidden, config.num_kv_heads * head_dim, is_clipped=clipped)
        self.value = ClippedLinear(hidden, config.num_kv_heads * head_dim, is_clipped=clipped)
        self.out = ClippedLinear(config.num_heads * head_dim, hidden, is_clipped=clipped)
        self.query_norm = RMSNorm(head_dim, config.rms_norm_eps)
        self.key_norm = RMSNorm(head_dim, config.rms_norm_eps)

    def forward(self, x_BPD: Tensor, angles: Angles) -> Tensor:
        """[B, P, D] -> [B, P, D]."""
        q_BPHE, k_BPKE, v_BPKE = (
            project(x_BPD).unflatten(-1, (-1, self._head_dim)) for project in (self.query, self.key, self.value)
        )
        q_BPHE = rotate_axes(self.query_norm(q_BPHE), angles)
        k_BPKE = rotate_axes(self.key_norm(k_BPKE), angles)
        v_BPKE = rms_norm(v_BPKE, None, self._eps)
        q_BHPE, k_BKPE, v_BKPE = (x.transpose(1, 2) for x in (q_BPHE, k_BPKE, v_BPKE))
        mixed_BHPE = F.scaled_dot_product_attention(q_BHPE, k_BKPE, v_BKPE, scale=1.0, enable_gqa=self._is_grouped)
        out_BPD: Tensor = self.out(mixed_BHPE.transpose(1, 2).flatten(2))
        return out_BPD


class VisionMlp(Layer):
    """down(gelu_tanh(gate(x)) * up(x)). Not fused: gate and up clip what they read by bounds of their own."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        hidden, width, clipped = config.hidden_size, config.mlp_size, config.has_clipped_linears
        self.gate = ClippedLinear(hidden, width, is_clipped=clipped)
        self.up = ClippedLinear(hidden, width, is_clipped=clipped)
        self.down = ClippedLinear(width, hidden, is_clipped=clipped)

    def forward(self, x_BPD: Tensor) -> Tensor:
        """[B, P, D] -> [B, P, D]."""
        out_BPD: Tensor = self.down(F.gelu(self.gate(x_BPD), approximate="tanh").mul_(self.up(x_BPD)))
        return out_BPD


class VisionLayer(Layer):
    """Attention and MLP with pre- and post-norms."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = VisionAttention(config)
        self.post_attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = VisionMlp(config)
        self.post_mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x_BPD: Tensor, angles: Angles) -> Tensor:
        """[B, P, D] -> [B, P, D]."""
        x_BPD = x_BPD + self.post_attention_norm(self.attention(self.attention_norm(x_BPD), angles))
        out_BPD: Tensor = x_BPD + self.post_mlp_norm(self.mlp(self.mlp_norm(x_BPD)))
        return out_BPD
