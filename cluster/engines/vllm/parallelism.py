"""How a vLLM replica is spread over ranks, and the resources that Ray reserves for them."""

from __future__ import annotations

from cluster.config import ConfigError, VariantConfig
from model.config import ModelConfig


def num_ranks(config: VariantConfig) -> int:
    """Processes that compute for one replica, each on a GPU of its own."""
    return config.tensor_parallel * config.vllm.pipeline_parallel * config.vllm.data_parallel


def placement_bundles(config: VariantConfig) -> list[dict[str, float]] | None:
    """One bundle a rank, of which the first also holds the replica; None if the replica is all there is.

    Ranks of several data-parallel engines are the replica's own processes, so its node must have all GPUs.
    """
    ranks = num_ranks(config)
    if config.engine != "vllm" or config.num_gpus == 0 or ranks == 1 or config.vllm.data_parallel > 1:
        return None
    bundle = {"GPU": config.num_gpus / ranks}
    return [{"CPU": config.num_cpus, **bundle}, *[dict(bundle) for _ in range(ranks - 1)]]


def check_parallelism(model: ModelConfig, config: VariantConfig) -> None:
    """Raises ConfigError, with the numbers and what to change, for ranks that this model cannot be spread over."""
    ranks, heads = num_ranks(config), model.text.num_heads
    if ranks > 1 and config.num_gpus not in (0, ranks):
        raise ConfigError(f"num_gpus: {config.num_gpus:g} is not one each for {_product(config)}; set {ranks}")
    if heads % config.tensor_parallel:
        raise ConfigError(f"tensor_parallel: {config.tensor_parallel} does not divide the model's {heads} heads")
    if config.vllm.pipeline_parallel > 1 and model.text.per_layer_size:
        raise ConfigError(
            "vllm.pipeline_parallel: vLLM does not hand this model's per-layer embeddings from stage to stage; "
            "set it to 1 and raise tensor_parallel"
        )
    if config.expert_parallel or config.vllm.expert_balance:
        _check_experts(model, config)


def _check_experts(model: ModelConfig, config: VariantConfig) -> None:
    moe, ranks = model.text.moe, config.tensor_parallel * config.vllm.data_parallel
    if moe is None:
        raise ConfigError("expert_parallel: this model has no experts; set it to false")
    if not config.expert_parallel:
        raise ConfigError("vllm.expert_balance: moves the experts of expert_parallel; set that to true")
    if moe.num_experts % ranks:
        raise ConfigError(
            f"expert_parallel: {_product(config)} spreads {moe.num_experts} experts over {ranks} ranks, "
            "which does not divide them"
        )
    if ranks > 1 and config.num_gpus == 0:
        raise ConfigError("expert_parallel: vLLM computes whole experts on GPUs only; set num_gpus, or engine: native")


def _product(config: VariantConfig) -> str:
    """The factors that are not 1."""
    factors = {
        "tensor_parallel": config.tensor_parallel,
        "vllm.pipeline_parallel": config.vllm.pipeline_parallel,
        "vllm.data_parallel": config.vllm.data_parallel,
    }
    return " x ".join(f"{name} {count}" for name, count in factors.items() if count > 1) or "one rank"
