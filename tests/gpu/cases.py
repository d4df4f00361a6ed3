"""Each supported way to run vLLM on GPUs, as configuration, with the tokens that a tiny checkpoint must answer with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster.config import VariantConfig

PROMPT, CONTEXT_TOKENS = "The quick brown fox", 1024
# Greedy, in float32; tests/gpu/test_cases.py holds our own engine to them on the CPU.
ANSWERS = {
    "tiny:e2b": [486, 816, 90, 816, 140, 7, 374, 180],
    "tiny:26b-a4b": [126, 555, 741, 927, 953, 909, 909, 909],
    "tiny:31b": [964, 228, 603, 482, 368, 228, 482, 960],
}


@dataclass(frozen=True)
class Case:
    """One way. `is_exact` is False where other numbers are computed with, and only the answer's length is known."""

    name: str
    checkpoint: str
    config: VariantConfig
    is_exact: bool = True

    @property
    def num_gpus(self) -> int:
        """That it takes."""
        return int(self.config.num_gpus)


def _case(name: str, checkpoint: str, vllm: dict[str, Any] | None = None, exact: bool = True, **options: Any) -> Case:
    values = {"engine": "vllm", "num_gpus": 1, "dtype": "float32", "vllm": vllm or {}, **options}
    return Case(name, checkpoint, VariantConfig.model_validate(values), exact)


CASES = [
    _case("one GPU", "tiny:e2b"),
    _case("one GPU, nothing compiled", "tiny:31b", {"enforce_eager": True}),
    _case("one GPU, experts", "tiny:26b-a4b"),
    _case("a dense layer over two", "tiny:31b", tensor_parallel=2, num_gpus=2),
    _case("layers in two stages", "tiny:31b", {"pipeline_parallel": 2}, num_gpus=2),
    _case("experts in slices over two", "tiny:26b-a4b", tensor_parallel=2, num_gpus=2),
    _case("whole experts over two", "tiny:26b-a4b", tensor_parallel=2, num_gpus=2, expert_parallel=True),
    _case(
        "whole experts over two, balanced",
        "tiny:26b-a4b",
        {"expert_balance": True},
        tensor_parallel=2,
        num_gpus=2,
        expert_parallel=True,
    ),
    _case("whole experts, sequences apart", "tiny:26b-a4b", {"data_parallel": 2}, num_gpus=2, expert_parallel=True),
    _case("no encoders", "tiny:e2b", {"text_only": True}),
    _case("few media", "tiny:e2b", {"media": {"image": 2, "video": 1, "audio": 0}}),
    _case("a cache of a known size", "tiny:e2b", kv_cache_tokens=4096),
    _case("no prefix cache", "tiny:e2b", prefix_cache=False, prefill_tokens=256, gpu_memory_utilization=0.5),
    _case("keys and values in 8 bits", "tiny:31b", exact=False, kv_cache_dtype="fp8", dtype="bfloat16"),
    _case("weights in 8 bits", "tiny:31b", exact=False, quantization="fp8_per_channel", dtype="bfloat16"),
    _case(
        "experts in 8 bits",
        "tiny:26b-a4b",
        exact=False,
        quantization="int8_per_channel_weight_only",
        dtype="bfloat16",
    ),
    _case("arguments of its own", "tiny:e2b", {"engine_args": {"block_size": 32, "seed": 1}}),
]
