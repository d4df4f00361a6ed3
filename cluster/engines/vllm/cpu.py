"""What vLLM must be told on a CPU, where its own defaults take all cores and nearly all memory."""

from __future__ import annotations

import os
from typing import Any

import psutil

from cluster.config import VariantConfig
from cluster.planning.kv_cache import kv_bytes_per_token
from model.config import ModelConfig

_TOKENS_A_SEQUENCE = 8192
_SHARE_OF_FREE = 0.25


def cpu_arguments(model: ModelConfig, config: VariantConfig, context_tokens: int) -> dict[str, Any]:
    """The KV cache in bytes: as many tokens as the batch wants, within a share of the memory that is free."""
    wanted = config.max_batch_size * min(context_tokens, _TOKENS_A_SEQUENCE)
    bytes_per_token = _bytes_per_token(model, config)
    affordable = int(psutil.virtual_memory().available * _SHARE_OF_FREE) // bytes_per_token
    tokens = config.kv_cache_tokens or min(wanted, affordable)
    return {"kv_cache_memory_bytes": max(tokens, context_tokens) * bytes_per_token}


def set_cpu_environment(config: VariantConfig) -> None:
    """Read by vLLM's processes. What is set already stays."""
    num_threads = config.num_threads or max(1, (os.cpu_count() or 1) // 2)
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("OMP_NUM_THREADS", str(num_threads))


def _bytes_per_token(model: ModelConfig, config: VariantConfig) -> int:
    """Of all layers; in a long sequence those with a window hold less."""
    is_wide = "float32" in (config.dtype, model.dtype if config.dtype == "auto" else None)
    size = 4 if is_wide else 2
    return sum(kv_bytes_per_token(model.text, size, has_window=has_window) for has_window in (True, False))
