"""What vLLM takes of a GPU beside weights and KV cache. Estimates, each with its source, on the cautious side.

Held against start-up logs of Gemma 4 in tests/cluster/planning/test_measured.py.
"""

from __future__ import annotations

from cluster.planning.gpus import GIB
from model.config import ModelConfig, TextConfig

# vLLM refuses to start with less than its longest medium, which cannot be split: a video of 32 frames, 2,496 tokens.
PREFILL_TOKENS = 4096
# With asynchronous scheduling (the default) two steps are in flight; sliding layers hold the tokens of both.
IN_FLIGHT_STEPS = 2
# CUDA context, cuBLAS workspaces and allocator slack; vLLM's logs show 0.3 to 0.5 GiB outside torch.
RUNTIME_BYTES = GIB // 2
# NCCL and custom all-reduce buffers of a rank that has peers.
PEER_BYTES = GIB // 2
# vLLM 0.21 and later count captured graphs into their share of the GPU: 0.17 to 0.58 GiB in logs.
GRAPH_BYTES = int(0.6 * GIB)

_NUMBER, _LOGIT = 2, 4
_STREAMS = 4  # residual, its norm, a layer's output, and one to add
_LOGIT_COPIES = 3  # float32 scores, their soft cap, and the sampler's sorted copy
_VIDEO_PATCHES = 32 * 70 * 9


def rope_bytes(text: TextConfig) -> int:
    """Sine and cosine of every position, for both head sizes: vLLM keeps them as tables."""
    return text.max_position_embeddings * (text.local.head_dim + text.global_.head_dim) * _NUMBER


def activation_bytes(config: ModelConfig, prefill_tokens: int, sequences: int, ranks: int) -> int:
    """The peak of a step: a full chunk through the widest layer, the scores of every sequence, a video encoded."""
    text = config.text
    streams = _STREAMS * text.hidden_size
    # Each layer has its embedding of each token, as looked up and as combined.
    per_layer = 2 * text.num_layers * text.per_layer_size
    chunk = prefill_tokens * (streams + per_layer + _widest(text, ranks)) * _NUMBER
    logits = sequences * text.vocab_size * _LOGIT * _LOGIT_COPIES
    return chunk + logits + _encoding_bytes(config)


def _widest(text: TextConfig, ranks: int) -> int:
    """Numbers of one token in the widest layer: its gate and up, or its queries, keys and values."""
    mlp = max(2 * spec.mlp_size for spec in text.layers)
    attention = max((text.num_heads + 2 * spec.num_kv_heads) * spec.head_dim for spec in text.layers)
    return max(mlp, attention) // ranks + _expert_width(text)


def _expert_width(text: TextConfig) -> int:
    """Every rank may get every token: experts that all tokens choose are no rank's alone."""
    if text.moe is None:
        return 0
    return text.moe.top_k * (2 * text.moe.expert_size + text.hidden_size)


def _encoding_bytes(config: ModelConfig) -> int:
    """The longest medium, a video, in the vision encoder: gate and up beside the streams."""
    if config.vision is None:
        return 0
    return _VIDEO_PATCHES * (2 * config.vision.mlp_size + _STREAMS * config.vision.hidden_size) * _NUMBER
