"""How large a replica's KV cache is when its configuration does not say: as the batch wants, if memory allows."""

from __future__ import annotations

from dataclasses import replace

import psutil
import torch

from cluster.planning.kv_cache import kv_cost
from model.config import TextConfig
from model.runtime.config import RuntimeConfig
from model.runtime.kv_cache import windowed_pages

# On a CPU the cache takes memory only as it fills, but so do the other replicas of the machine.
_SHARE_OF_FREE = {"cpu": 0.25, "cuda": 0.8}


def with_kv_budget(
    config: RuntimeConfig, text: TextConfig, dtype: torch.dtype, device: torch.device, *, num_sharers: int = 1
) -> RuntimeConfig:
    """Bounds the cache by the memory that is free once the weights are loaded; one whole context it always holds.

    `dtype` is that of keys and values. A budget that is set stays. On a CPU as many as `num_sharers` caches may share
    the memory.
    """
    if config.kv_token_budget is not None:
        return config
    cost = kv_cost(text, dtype.itemsize)
    free = _free_bytes(device) * _SHARE_OF_FREE[device.type] / (num_sharers if device.type == "cpu" else 1)
    free -= windowed_pages(text.sliding_window, config) * config.page_size * cost.local_bytes
    tokens = max(config.max_context, min(config.kv_tokens, int(free) // cost.global_bytes))
    return replace(config, kv_token_budget=tokens)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)
