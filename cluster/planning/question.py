"""What a plan is asked for, checked: a variant on a GPU, at a context, with the settings that decide memory."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.planning.errors import PlanError, unknown
from cluster.planning.gpus import Gpu
from cluster.planning.kv_cache import KV_BYTES
from cluster.planning.overheads import PREFILL_TOKENS
from cluster.planning.quantization import Quantization
from model.config import ModelConfig

ENGINES = ("vllm", "native")
_NATIVE_SEQUENCES, _NATIVE_PREFILL_TOKENS = 16, 512


@dataclass(frozen=True)
class Question:
    """`context` bounds prompt and output of a sequence, in tokens. PlanError for what cannot be.

    `count` GPUs are at hand; None: as many as a replica wants, up to a node of 8. `sequences` are decoded together,
    `prefill_tokens` are computed in a step, `utilization` is the share of the GPU that vLLM may fill; their defaults
    are the GPU's and the engine's. With `has_graphs` vLLM captures CUDA graphs.
    """

    gpu: Gpu
    variant: str
    config: ModelConfig
    context: int
    quantization: Quantization
    count: int | None = None
    kv: str = "bf16"
    engine: str = "vllm"
    sequences: int | None = None
    prefill_tokens: int | None = None
    utilization: float | None = None
    has_graphs: bool = True

    def __post_init__(self) -> None:
        longest = self.config.text.max_position_embeddings
        if not 1 <= self.context <= longest:
            raise PlanError(f"context {self.context:,}: {self.variant} takes 1 to {longest:,} tokens")
        if self.count is not None and self.count < 1:
            raise PlanError(f"{self.count} GPUs: at least 1 is needed")
        if self.engine not in ENGINES:
            raise unknown("engine", self.engine, ENGINES)
        if self.kv not in KV_BYTES:
            raise unknown("type of KV cache", self.kv, KV_BYTES)
        self._check_fp8_cache()

    def _check_fp8_cache(self) -> None:
        if self.kv != "fp8":
            return
        if self.engine == "native":
            raise PlanError("the native engine has no fp8 KV cache; use bf16")
        if not self.gpu.has_fp8:
            raise PlanError(f"{self.gpu.title} has no fp8 arithmetic, which attention needs; use a bf16 KV cache")

    @property
    def batch(self) -> int:
        """Sequences decoded together."""
        return self.sequences or (self.gpu.max_sequences if self.engine == "vllm" else _NATIVE_SEQUENCES)

    @property
    def chunk(self) -> int:
        """Prompt tokens of a step."""
        return self.prefill_tokens or (PREFILL_TOKENS if self.engine == "vllm" else _NATIVE_PREFILL_TOKENS)

    @property
    def share(self) -> float:
        """The part of the GPU's memory that may be filled."""
        return self.utilization or (self.gpu.gpu_memory_utilization if self.engine == "vllm" else 1.0)
