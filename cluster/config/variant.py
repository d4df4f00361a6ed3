"""The `variants` section: each one's checkpoint, engine and replicas."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from autoscaling.settings import PolicySettings, SettingsError, settings_of
from cluster.config.section import Section
from cluster.config.vllm import VllmConfig


class ReplicasConfig(Section):
    """How many replicas of a variant."""

    min: int = Field(1, ge=0, description="Least replicas.")
    max: int = Field(1, ge=1, description="Most replicas.")
    target_ongoing_requests: float = Field(8, gt=0, description="Requests a replica should have in flight.")
    drain_grace_s: float = Field(
        30, ge=0, description="Seconds that answers of a replica that leaves have; longer ones go on on another."
    )
    start_timeout_s: float = Field(
        900,
        gt=0,
        description="Seconds that a request waits for the first replica when there is none, before it ends "
        "UNAVAILABLE; its deadline may pass sooner.",
    )
    silence_s: float = Field(
        20, ge=0.5, description="Seconds without a sign of life after which a replica's answers go on on another."
    )

    @model_validator(mode="after")
    def _ordered(self) -> ReplicasConfig:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class VariantConfig(Section):
    """One variant: its checkpoint, its engine, its replicas."""

    checkpoint: str | None = Field(
        None,
        description="Folder, Hugging Face repository, pocket:<variant> or tiny:<variant>. Default: the family's.",
    )
    engine: Literal["native", "vllm", "echo"] = Field("native", description="What runs it.")
    replicas: ReplicasConfig = Field(default_factory=lambda: ReplicasConfig())
    autoscaling: dict[str, float] | None = Field(
        None,
        description="Between replicas.min and max, scale by tokens: what one replica can do, the targets, the delays, "
        "by the names of autoscaling/settings.py. Default: by replicas.target_ongoing_requests.",
    )
    max_batch_size: int = Field(16, ge=1, description="Sequences that one replica decodes together.")
    max_queued_requests: int = Field(64, ge=0, description="Requests that may wait for each replica.")
    max_context_tokens: int | None = Field(
        None, ge=16, description="Prompt and output together. Default: the checkpoint's, at most 32768."
    )
    max_output_tokens: int | None = Field(None, ge=1, description="Most output of a request. Default: context.")
    kv_cache_tokens: int | None = Field(
        None,
        ge=16,
        description="Tokens that a replica's KV cache holds. Default: 8192 a sequence, fewer if memory is short.",
    )
    prefill_tokens: int | None = Field(
        None,
        ge=16,
        le=65536,
        description="Most prompt tokens that one step computes; fewer take less memory. An image is never split. "
        "Default: 512, with vLLM 4096.",
    )
    prefix_cache: bool = Field(True, description="Compute what prompts begin alike with only once.")
    num_threads: int | None = Field(
        None, ge=1, description="CPU threads of the engine. Default: half the machine's logical cores."
    )
    num_cpus: float = Field(0.1, ge=0, description="CPUs that Ray reserves for a replica.")
    num_gpus: float = Field(0, ge=0, description="GPUs that Ray reserves for a replica, all its ranks together.")
    node_labels: dict[str, str] = Field(
        default_factory=dict, description="Labels that Ray nodes must have for a replica. Default: any node."
    )
    tensor_parallel: int = Field(1, ge=1, description="vLLM: ranks that share each layer of a replica.")
    expert_ranks: int = Field(
        1,
        ge=1,
        description="Native: ranks that share a replica's experts. Each answers requests of its own with its part of "
        "max_batch_size, max_queued_requests, kv_cache_tokens, num_cpus and num_gpus.",
    )
    expert_copies: int = Field(
        0, ge=0, description="Native: experts that each of expert_ranks holds besides its share: those most asked for."
    )
    rebalance_passes: int = Field(
        2000, ge=1, description="Native: passes after which expert_copies are chosen anew, from what was asked for."
    )
    rank_timeout_s: float = Field(
        20,
        ge=2,
        description="Native: a rank that does not answer the others for so long is lost, and its gang with it.",
    )
    expert_parallel: bool = Field(False, description="vLLM: each rank holds whole experts, not a part of every one.")
    quantization: Literal["fp8_per_channel", "int8_per_channel_weight_only"] | None = Field(
        None, description="vLLM: quantise at load; int8 takes only experts. Default: as the checkpoint stores it."
    )
    kv_cache_dtype: Literal["auto", "fp8"] = Field("auto", description="vLLM: keys and values in memory.")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="vLLM: the share of a GPU it may fill.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Weights in memory; auto: as stored. A CPU without bfloat16 instructions computes in float32.",
    )
    weights: Literal["auto", "int8", "int4"] = Field(
        "auto", description="Quantise the decoder at load. Default: as the checkpoint stores it, float or quantised."
    )
    weight_group_size: Literal[32, 64, 128, 256] = Field(64, description="Weights that share an int4 scale.")
    memory_map_tables: bool = Field(
        True, description="Leave embedding tables in their file and read the rows of tokens in use (CPU)."
    )
    cost: float | None = Field(None, ge=0, description="Units per 1,000 tokens. Default: active parameters, billions.")
    echo_delay_ms: float = Field(0, ge=0, description="Echo engine only: milliseconds between tokens.")
    vllm: VllmConfig = Field(default_factory=lambda: VllmConfig(), description="vLLM engine only.")

    @model_validator(mode="after")
    def _scales(self) -> VariantConfig:
        if self.autoscaling is None:
            return self
        if self.replicas.min == self.replicas.max:
            raise ValueError(f"autoscaling: replicas.min and replicas.max are both {self.replicas.max}; raise max")
        try:
            self.policy_settings()
        except SettingsError as error:
            raise ValueError(f"autoscaling.{error}") from error
        return self

    def policy_settings(self) -> PolicySettings:
        """Of the policy that scales by tokens. Raises SettingsError."""
        bounds = {"min_replicas": self.replicas.min, "max_replicas": self.replicas.max}
        return settings_of({"sequences": self.max_batch_size, **(self.autoscaling or {})}, **bounds)

    @model_validator(mode="after")
    def _fits_its_engine(self) -> VariantConfig:
        if self.engine != "vllm" and self.vllm != VllmConfig():
            raise ValueError(f"vllm: only the vLLM engine reads it, and engine is {self.engine}")
        return self

    @model_validator(mode="after")
    def _ranks(self) -> VariantConfig:
        if self.expert_ranks == 1:
            if self.expert_copies:
                raise ValueError("expert_copies: there is one rank, which has all experts; set expert_ranks too")
            return self
        if self.expert_copies and self.weights != "auto":
            raise ValueError(
                f"expert_copies: {self.weights} experts cannot be moved; leave weights at auto, or copies at 0"
            )
        if self.engine != "native":
            raise ValueError(f"expert_ranks: the {self.engine} engine has none; only native does")
        if self.num_cpus == 0 and self.num_gpus == 0:
            raise ValueError(f"num_cpus: 0 for {self.expert_ranks} expert_ranks; each needs a bundle of its own")
        if self.num_gpus not in (0, self.expert_ranks):
            raise ValueError(
                f"num_gpus: {self.num_gpus:g} GPUs for {self.expert_ranks} expert_ranks; "
                f"use {self.expert_ranks}, one for each, or 0 to run on CPUs"
            )
        return self
