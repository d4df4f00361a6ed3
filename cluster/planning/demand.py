"""What a configured variant takes of the machines it runs on: as a question to the planner, or in a CPU's memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cluster.capabilities import DEFAULT_MAX_CONTEXT_TOKENS
from cluster.config import VariantConfig
from cluster.planning.gpus import GIB, Gpu
from cluster.planning.kv_cache import KvCost, kv_cost
from cluster.planning.quantization import FLOAT32, NATIVE_QUANTIZATIONS, VLLM_QUANTIZATIONS, Quantization
from cluster.planning.question import Question
from cluster.planning.weights import EXPERT_PARALLEL, Part, weight_bytes
from model.config import ModelConfig

# A replica's process with torch loaded, and nothing else.
_PROCESS_BYTES = 2 * GIB // 5
_AT_LOAD = {"fp8_per_channel": VLLM_QUANTIZATIONS["fp8"], "int8_per_channel_weight_only": VLLM_QUANTIZATIONS["int8"]}


def question_of(name: str, config: VariantConfig, model: ModelConfig, stored: Quantization, gpu: Gpu) -> Question:
    """The planner's question for a variant that reserves GPUs. PlanError for settings that the GPU cannot take."""
    is_vllm = config.engine == "vllm"
    return Question(
        gpu=gpu,
        variant=name,
        config=replace(model, vision=None, audio=None) if config.vllm.text_only else model,
        context=context_tokens(config, model),
        quantization=in_memory(config, stored),
        kv="fp8" if is_vllm and config.kv_cache_dtype == "fp8" else "bf16",
        engine="vllm" if is_vllm else "native",
        sequences=config.max_batch_size,
        prefill_tokens=config.prefill_tokens,
        utilization=config.gpu_memory_utilization if is_vllm else None,
        has_graphs=not config.vllm.enforce_eager,
    )


def context_tokens(config: VariantConfig, model: ModelConfig) -> int:
    """Prompt and output together, at most; as cluster/capabilities.py decides it."""
    longest = model.text.max_position_embeddings
    wanted = config.max_context_tokens or min(config.kv_cache_tokens or longest, DEFAULT_MAX_CONTEXT_TOKENS)
    return min(wanted, longest)


def in_memory(config: VariantConfig, stored: Quantization) -> Quantization:
    """How the weights are held once they are loaded."""
    if config.engine == "vllm":
        narrow = VLLM_QUANTIZATIONS["bf16"] if stored.plain_bits > 16 else stored
        return narrow if config.quantization is None else _AT_LOAD[config.quantization]
    if config.weights != "auto":
        return NATIVE_QUANTIZATIONS[config.weights]
    if config.dtype == "float32" and stored.linear_bits >= 16:
        return FLOAT32
    return NATIVE_QUANTIZATIONS["bf16"] if config.dtype == "bfloat16" and stored.plain_bits > 16 else stored


@dataclass(frozen=True)
class CpuDemand:
    """Memory of one replica, all its ranks together, at least: what the engine cannot do without.

    `smaller` is the total with the weights quantised at load, by the name of the setting.
    """

    weight_bytes: int
    cost: KvCost
    tokens: int
    smaller: Mapping[str, int]
    process_bytes: int

    @property
    def cache_bytes(self) -> int:
        """Of a sequence that fills the cache; more of it is taken only as it fills."""
        return self._cache_bytes(self.tokens)

    @property
    def total_bytes(self) -> int:
        """All together."""
        return self.weight_bytes + self.cache_bytes + self.process_bytes

    def tokens_within(self, memory: int) -> int:
        """The most tokens with which all fits, 0 if none do."""
        left = memory - self.weight_bytes - self.process_bytes - self._cache_bytes(self.cost.window)
        return max(0, self.cost.window + left // self.cost.global_bytes)

    def _cache_bytes(self, tokens: int) -> int:
        return tokens * self.cost.global_bytes + min(tokens, self.cost.window) * self.cost.local_bytes


def cpu_demand(config: VariantConfig, model: ModelConfig, stored: Quantization) -> CpuDemand:
    """Of a variant without a GPU. The cache holds what is configured, else one sequence, at 16 bits a number."""
    tokens = config.kv_cache_tokens or context_tokens(config, model)
    cost = kv_cost(model.text, 2) if config.engine == "native" else _cost_of_all_layers(model)
    loaded = _loaded_bytes(config, model, in_memory(config, stored))
    is_mapped = config.engine == "native" and config.weights == "auto" and stored.linear_bits < 16
    demand = CpuDemand(0 if is_mapped else loaded, cost, tokens, {}, _PROCESS_BYTES * _num_ranks(config))
    smaller = {
        name: _loaded_bytes(config, model, bits) - loaded + demand.total_bytes
        for name, bits in NATIVE_QUANTIZATIONS.items()
        if bits.linear_bits < min(16, in_memory(config, stored).linear_bits)
    }
    return replace(demand, smaller=smaller)


def _num_ranks(config: VariantConfig) -> int:
    """Processes of a replica."""
    return config.expert_ranks * config.tensor_parallel


def _cost_of_all_layers(model: ModelConfig) -> KvCost:
    """On a CPU vLLM takes memory for all layers alike: cluster/engines/vllm/cpu.py."""
    cost = kv_cost(model.text, 2)
    return KvCost(cost.global_bytes + cost.local_bytes, 0, cost.window)


def _loaded_bytes(config: VariantConfig, model: ModelConfig, quantization: Quantization) -> int:
    """On all ranks, without tables that stay in their file."""
    ranks = config.expert_ranks
    sizes = dict(weight_bytes(model, quantization, ranks, EXPERT_PARALLEL))
    if config.engine == "native" and config.memory_map_tables:
        del sizes[Part.PER_LAYER_TABLE]
    return ranks * sum(sizes.values())
