"""A variant's configuration as arguments of vLLM's engine. vLLM itself is asked only whether it knows them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cluster.config import ConfigError, VariantConfig
from cluster.engines.vllm.adapter import adapter_rank
from cluster.engines.vllm.cpu import cpu_arguments
from cluster.engines.vllm.parallelism import check_parallelism, num_ranks
from model.config import ModelConfig
from model.runtime.sampling import MAX_LOGPROBS

# As cluster/config/variant.py says.
_PREFILL_TOKENS = 4096
# What the variant's own fields set; `vllm.engine_args` may not say otherwise.
_OWN_FIELDS = {
    "model": "checkpoint",
    "tokenizer": "checkpoint",
    "dtype": "dtype",
    "max_model_len": "max_context_tokens",
    "max_num_seqs": "max_batch_size",
    "max_num_batched_tokens": "prefill_tokens",
    "enable_prefix_caching": "prefix_cache",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "kv_cache_dtype": "kv_cache_dtype",
    "kv_cache_memory_bytes": "kv_cache_tokens",
    "tensor_parallel_size": "tensor_parallel",
    "enable_expert_parallel": "expert_parallel",
    "pipeline_parallel_size": "vllm.pipeline_parallel",
    "data_parallel_size": "vllm.data_parallel",
    "enable_eplb": "vllm.expert_balance",
    "limit_mm_per_prompt": "vllm.media",
    "language_model_only": "vllm.text_only",
    "speculative_config": "vllm.draft",
    "enable_lora": "vllm.adapter",
    "enforce_eager": "vllm.enforce_eager",
}


def engine_arguments(checkpoint: Path, config: VariantConfig, context_tokens: int) -> dict[str, Any]:
    """Keywords for vLLM's AsyncEngineArgs. Raises ConfigError for what this checkpoint cannot be run with."""
    model = ModelConfig.from_checkpoint(checkpoint)
    check_parallelism(model, config)
    _check_fields(config)
    return {
        "model": str(checkpoint),
        "dtype": config.dtype,
        "max_model_len": context_tokens,
        "max_num_seqs": config.max_batch_size,
        "max_num_batched_tokens": max(config.prefill_tokens or _PREFILL_TOKENS, config.max_batch_size),
        "enable_prefix_caching": config.prefix_cache,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "kv_cache_dtype": config.kv_cache_dtype,
        "max_logprobs": MAX_LOGPROBS,
        # Requests say all of it; a checkpoint's own defaults are the gateway's to apply.
        "generation_config": "vllm",
        "structured_outputs_config": {"backend": "guidance"},
        # Media come encoded for the model: see media.py.
        "mm_processor_cache_gb": 0,
        **_quantization(config),
        **_parallelism(config),
        **_media(config),
        **_extensions(config),
        **(cpu_arguments(model, config, context_tokens) if config.num_gpus == 0 else {}),
        **_eager(config),
        **config.vllm.engine_args,
    }


def check_known(arguments: dict[str, Any], known: Iterable[str], methods: Iterable[str]) -> None:
    """Raises ConfigError for a name that is none of vLLM's `known` arguments, or a quantisation not of `methods`."""
    for name in arguments:
        _check_name("vllm.engine_args", name, list(known), "argument of vLLM's engine")
    method = arguments.get("quantization")
    if method is not None:
        _check_name("quantization", str(method), list(methods), "quantisation of vLLM")


def argument_names(engine_args: type[Any]) -> list[str]:
    """The names that vLLM's dataclass of engine arguments takes."""
    return [field.name for field in dataclasses.fields(engine_args) if field.init]


def _check_name(where: str, name: str, known: list[str], kind: str) -> None:
    if name not in known:
        nearest = difflib.get_close_matches(name, known, 1, 0.0)
        raise ConfigError(f"{where}: {name} is no {kind}; the nearest is {nearest[0]}")


def _check_fields(config: VariantConfig) -> None:
    if config.weights != "auto":
        raise ConfigError(f"weights: {config.weights} is of the native engine; for vLLM set quantization")
    for name in config.vllm.engine_args:
        if name in _OWN_FIELDS:
            raise ConfigError(f"vllm.engine_args: {name} is set by the variant's {_OWN_FIELDS[name]}")


def _quantization(config: VariantConfig) -> dict[str, Any]:
    return {} if config.quantization is None else {"quantization": config.quantization}


def _parallelism(config: VariantConfig) -> dict[str, Any]:
    vllm = config.vllm
    arguments: dict[str, Any] = {}
    if config.tensor_parallel * vllm.pipeline_parallel > 1:
        arguments |= {
            "tensor_parallel_size": config.tensor_parallel,
            "pipeline_parallel_size": vllm.pipeline_parallel,
            "distributed_executor_backend": "ray" if config.num_gpus and vllm.data_parallel == 1 else "mp",
        }
    if vllm.data_parallel > 1:
        arguments |= {"data_parallel_size": vllm.data_parallel, "data_parallel_size_local": vllm.data_parallel}
    if config.expert_parallel and num_ranks(config) > 1:
        arguments |= {"enable_expert_parallel": True, "enable_eplb": vllm.expert_balance}
    return arguments


def _media(config: VariantConfig) -> dict[str, Any]:
    if config.vllm.text_only:
        return {"language_model_only": True}
    return {"limit_mm_per_prompt": dict(config.vllm.media)} if config.vllm.media else {}


def _extensions(config: VariantConfig) -> dict[str, Any]:
    draft, adapter = config.vllm.draft, config.vllm.adapter
    arguments: dict[str, Any] = {}
    if draft is not None:
        arguments["speculative_config"] = {"model": draft.checkpoint, "num_speculative_tokens": draft.tokens}
    if adapter is not None:
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": adapter_rank(Path(adapter))}
    return arguments


def _eager(config: VariantConfig) -> dict[str, Any]:
    eager = config.vllm.enforce_eager
    return {"enforce_eager": config.num_gpus == 0 if eager is None else eager}
