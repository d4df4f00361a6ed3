"""Random checkpoints with the structure of the published variants, as transformers writes them."""

from pathlib import Path
from typing import Any

import torch
from transformers.models.gemma4.configuration_gemma4 import Gemma4TextConfig
from transformers.models.gemma4.modeling_gemma4 import Gemma4ForCausalLM

LOCAL, GLOBAL = "sliding_attention", "full_attention"

_COMMON: dict[str, Any] = {
    "vocab_size": 1024,
    "vocab_size_per_layer_input": 1024,
    "hidden_size_per_layer_input": 0,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "head_dim": 32,
    "global_head_dim": 64,
    "sliding_window": 64,
    "max_position_embeddings": 1024,
    "final_logit_softcapping": 30.0,
}
# E2B's structure: per-layer embeddings, one key/value head, shared keys and values, double-wide MLP.
E2B = _COMMON | {
    "intermediate_size": 256,
    "num_key_value_heads": 1,
    "hidden_size_per_layer_input": 32,
    "num_kv_shared_layers": 5,
    "use_double_wide_mlp": True,
    "layer_types": ([LOCAL] * 4 + [GLOBAL]) * 2,
}
# 26B-A4B's: 128 experts of which 8 work, K = V on global layers.
A4B = _COMMON | {
    "intermediate_size": 256,
    "num_key_value_heads": 2,
    "num_global_key_value_heads": 1,
    "attention_k_eq_v": True,
    "enable_moe_block": True,
    "num_experts": 128,
    "top_k_experts": 8,
    "moe_intermediate_size": 32,
    "layer_types": ([LOCAL] * 5 + [GLOBAL]) * 2,
}
# E2B at two thirds of its width, with its proportions but for depth and vocabulary: what costs time is as in the real
# one, matrix multiplication.
WIDE_E2B = E2B | {
    "vocab_size": 16384,
    "vocab_size_per_layer_input": 16384,
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "head_dim": 64,
    "global_head_dim": 128,
    "hidden_size_per_layer_input": 128,
    "num_kv_shared_layers": 3,
    "layer_types": ([LOCAL] * 2 + [GLOBAL]) * 2,
}


def write(values: dict[str, Any], path: Path, dtype: torch.dtype) -> Path:
    """Saves a random model of this text config, stored as `dtype`."""
    torch.manual_seed(0)
    config = Gemma4TextConfig(**values, num_hidden_layers=len(values["layer_types"]))
    model = Gemma4ForCausalLM(config).requires_grad_(False)
    for name, tensor in model.state_dict().items():
        if "norm.weight" in name and "q_norm" not in name and "k_norm" not in name:
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() >= 2 and "embed" not in name and "lm_head" not in name:
            tensor.normal_(0, tensor.shape[-1] ** -0.5)
        elif "_norm" in name:
            tensor.fill_(0.4)
    model.to(dtype).save_pretrained(path)
    return path
