"""The configuration of a plan as YAML, for `gemma-cluster up --config`."""

from __future__ import annotations

from cluster.planning.layout import Layout
from cluster.planning.plan import Plan
from cluster.planning.quantization import W4A16_CHECKPOINTS
from cluster.planning.question import Question

_AT_LOAD = {"fp8": "fp8_per_channel", "int8": "int8_per_channel_weight_only"}


def config_yaml(plan: Plan) -> str:
    """The YAML. The plan must fit."""
    assert plan.chosen is not None
    question, layout = plan.question, plan.chosen
    settings = {
        **(_vllm(question, layout) if question.engine == "vllm" else _native(question, layout)),
        "max_context_tokens": question.context,
        "max_batch_size": layout.most_sequences,
        "prefill_tokens": question.chunk,
    }
    if question.count is not None:
        settings["replicas"] = f"{{min: {plan.replicas}, max: {plan.replicas}}}"
    lines = [f"    {name}: {value}" for name, value in settings.items()]
    return "\n".join(["family: gemma-4", "variants:", f"  {question.variant}:", *lines]) + "\n"


def _vllm(question: Question, layout: Layout) -> dict[str, object]:
    settings: dict[str, object] = {"engine": "vllm", "num_gpus": layout.ranks, "tensor_parallel": layout.ranks}
    if question.config.text.moe is not None and layout.ranks > 1:
        settings["expert_parallel"] = "true"
    if question.quantization.name == "w4a16":
        settings["checkpoint"] = W4A16_CHECKPOINTS[question.variant]
    if question.quantization.name in _AT_LOAD:
        settings["quantization"] = _AT_LOAD[question.quantization.name]
    if question.kv == "fp8":
        settings["kv_cache_dtype"] = "fp8"
    return settings | {"gpu_memory_utilization": question.share}


def _native(question: Question, layout: Layout) -> dict[str, object]:
    settings: dict[str, object] = {"engine": "native", "num_gpus": layout.ranks}
    if layout.ranks > 1:
        settings |= {"expert_ranks": layout.ranks, "num_cpus": layout.ranks}
    if question.quantization.name != "bf16":
        settings["weights"] = question.quantization.name
    return settings
