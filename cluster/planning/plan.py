"""The plan itself: the fewest GPUs that hold a variant at a context, and what to change where none do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cluster.planning.errors import PlanError, unknown
from cluster.planning.gpus import GPUS, find_gpu
from cluster.planning.layout import Layout
from cluster.planning.layouts import layouts
from cluster.planning.quantization import NATIVE_QUANTIZATIONS, VLLM_QUANTIZATIONS, find_quantization
from cluster.planning.question import ENGINES, Question
from model.config import ModelConfig
from model.variants import VARIANTS

_STEP_TOKENS = 1024


@dataclass(frozen=True)
class Plan:
    """`tried` are the layouts of the GPUs at hand, fewest first; `chosen` the first that fits, or None."""

    question: Question
    tried: tuple[Layout, ...]
    chosen: Layout | None

    @property
    def replicas(self) -> int:
        """Replicas that the GPUs at hand hold; 1 if their number was not said."""
        if self.chosen is None:
            return 0
        return 1 if self.question.count is None else self.question.count // self.chosen.ranks

    @property
    def best(self) -> Layout:
        """The chosen layout, else the one that lacks least."""
        return self.chosen or min(self.tried, key=lambda tried: tried.missing_bytes)


def plan(
    gpu: str,
    variant: str,
    context: int,
    count: int | None = None,
    quantization: str = "bf16",
    kv: str = "bf16",
    engine: str = "vllm",
) -> Plan:
    """A published variant on a GPU of the table. PlanError, with the nearest names, for what is not known."""
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    name, config = _find_variant(variant)
    return answer(
        Question(
            gpu=find_gpu(gpu),
            variant=name,
            config=config,
            context=context,
            quantization=find_quantization(quantization, engine, config),
            count=count,
            kv=kv.lower(),
            engine=engine,
        )
    )


def answer(question: Question) -> Plan:
    """The plan for any model."""
    tried = tuple(layouts(question))
    return Plan(question, tried, next((layout for layout in tried if layout.fits), None))


def alternatives(question: Question) -> list[str]:
    """Each single change after which the variant would fit, cheapest first."""
    changes: list[str] = []
    for words, changed in _changes(question):
        chosen = answer(changed).chosen
        if chosen is not None:
            changes.append(f"{words}: fits on {_gpus(chosen.ranks)}")
    longest = longest_context(question)
    if longest and longest < question.context:
        changes.insert(0, f"--context {longest}: the longest that fits")
    return changes


def longest_context(question: Question) -> int:
    """The most tokens, in thousands of 1024, up to the model's limit; 0 if not one thousand fits."""
    low, high = 0, question.config.text.max_position_embeddings // _STEP_TOKENS
    while low < high:
        middle = (low + high + 1) // 2
        fits = answer(replace(question, context=middle * _STEP_TOKENS)).chosen is not None
        low, high = (middle, high) if fits else (low, middle - 1)
    return low * _STEP_TOKENS


def _changes(question: Question) -> Iterator[tuple[str, Question]]:
    if question.kv == "bf16" and question.gpu.has_fp8 and question.engine == "vllm":
        yield "--kv fp8", replace(question, kv="fp8")
    known = NATIVE_QUANTIZATIONS if question.engine == "native" else VLLM_QUANTIZATIONS
    for name in known:
        try:
            smaller = find_quantization(name, question.engine, question.config)
        except PlanError:
            continue
        if smaller.bits < question.quantization.bits:
            yield f"--quantization {name}", replace(question, quantization=smaller)
    if question.count is not None:
        yield "without --count", replace(question, count=None)
    for gpu in GPUS.values():
        if gpu.memory_bytes > question.gpu.memory_bytes and (question.kv == "bf16" or gpu.has_fp8):
            yield f"--gpu {gpu.name}", replace(question, gpu=gpu)


def _find_variant(name: str) -> tuple[str, ModelConfig]:
    if not name:
        raise PlanError(f"name a variant: {', '.join(VARIANTS)}")
    if name.lower() not in VARIANTS:
        raise unknown("variant", name, VARIANTS)
    return name.lower(), VARIANTS[name.lower()]


def _gpus(count: int) -> str:
    return f"{count} GPU{'s' if count > 1 else ''}"
