"""The LoRA adapter that all answers of a variant use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.config import ConfigError
from model.checkpoint import CheckpointError, read_json

# vLLM's kernels are built for these.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def adapter_rank(folder: Path) -> int:
    """The least rank that vLLM has kernels for and the adapter fits. Raises ConfigError."""
    try:
        rank = read_json(folder / "adapter_config.json").get("r")
    except (CheckpointError, OSError) as error:
        raise ConfigError(f"vllm.adapter: {folder} is no LoRA adapter as peft writes it: {error}") from error
    if not isinstance(rank, int) or not 1 <= rank <= _RANKS[-1]:
        raise ConfigError(f"vllm.adapter: its rank is {rank}, and must be 1 to {_RANKS[-1]}")
    return min(kernel for kernel in _RANKS if kernel >= rank)


def adapter_request(folder: str | None) -> Any:
    """vLLM's request for the adapter; None without one."""
    if folder is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest("adapter", 1, folder)
