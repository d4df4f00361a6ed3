"""Variants that reserve GPUs: are there enough, and are they large enough?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from cluster.config import ClusterConfig, VariantConfig
from cluster.planning.demand import question_of
from cluster.planning.errors import PlanError
from cluster.planning.gpus import GIB, Gpu
from cluster.planning.hardware import Node
from cluster.planning.known_models import known_model
from cluster.planning.layout import Layout
from cluster.planning.layouts import layout
from cluster.planning.media_check import media_refusals
from cluster.planning.parallelism import is_divisible, rank_counts
from cluster.planning.plan import longest_context
from cluster.planning.quantization import NATIVE_QUANTIZATIONS, VLLM_QUANTIZATIONS, W4A16_CHECKPOINTS
from cluster.planning.question import Question
from model.variants import VARIANTS

MOST_RANKS = 16
_FIELD = {"vllm": "tensor_parallel", "native": "expert_ranks"}
# The words of a change, the question after it, and its ranks.
Change: TypeAlias = tuple[str, Question, int]


def count_refusals(config: ClusterConfig, nodes: Sequence[Node]) -> Iterator[str]:
    """Every replica must find its GPUs, and so must all that start at once."""
    have = sum(len(node.gpus) for node in nodes)
    wants = {name: variant for name, variant in config.variants.items() if variant.num_gpus > 0}
    alone = [_too_many(name, variant, have) for name, variant in wants.items() if variant.num_gpus > have]
    yield from alone
    total = sum(variant.num_gpus * variant.replicas.min for variant in wants.values())
    if total > have and not alone:
        each = ", ".join(f"{name} {variant.replicas.min} x {variant.num_gpus:g}" for name, variant in wants.items())
        yield f"variants want {total:g} GPUs at their start ({each}), and there {_are(have)} here; lower replicas.min"


def memory_refusals(config: ClusterConfig, name: str, nodes: Sequence[Node], most_ranks: int) -> Iterator[str]:
    """A variant against the largest GPU there is; advice takes up to `most_ranks` of them.

    What pipeline stages and data-parallel engines take of it is not planned.
    """
    variant, gpu = config.variants[name], _largest(nodes)
    known = known_model(config.checkpoint_of(name))
    if variant.num_gpus == 0 or variant.engine == "echo" or known is None or gpu is None:
        return
    try:
        question = question_of(name, variant, *known, _reserved(gpu, variant))
    except PlanError as error:
        yield f"variants.{name}: {error}"
        return
    yield from media_refusals(question, variant)
    found = layout(question, variant.tensor_parallel if question.engine == "vllm" else variant.expert_ranks)
    if not is_divisible(question.config.text, question.engine, found.ranks):
        yield f"variants.{name}.{_FIELD[question.engine]}: {_uneven(question, found.ranks)}"
    elif not found.fits and variant.vllm.pipeline_parallel * variant.vllm.data_parallel == 1:
        advice = _what_to_set(question, found, most_ranks)
        yield f"variants.{name} does not fit on {_shortage(question, found)}; {advice}"


def _largest(nodes: Sequence[Node]) -> Gpu | None:
    gpus = [gpu for node in nodes for device in node.gpus if (gpu := device.gpu()) is not None]
    return max(gpus, key=lambda gpu: gpu.memory_bytes, default=None)


def _reserved(gpu: Gpu, variant: VariantConfig) -> Gpu:
    """The part of a GPU that Ray reserves for the native engine; vLLM says by itself how much it fills."""
    share = variant.num_gpus
    if variant.engine == "vllm" or share >= 1:
        return gpu
    return replace(gpu, memory_gib=gpu.memory_gib * share, title=f"{share:g} of {gpu.title}")


def _too_many(name: str, variant: VariantConfig, have: int) -> str:
    gpus = f"{variant.num_gpus:g} GPU{'' if variant.num_gpus == 1 else 's'}"
    ranks = {"tensor_parallel": variant.tensor_parallel, "expert_ranks": variant.expert_ranks}
    also = "".join(f" and {field}" for field, count in ranks.items() if count > 1)
    fewer = f"set it{also} to at most {have}" if have else "set it to 0 to run on CPUs"
    return f"variants.{name}.num_gpus: a replica wants {gpus}, and there {_are(have)} here; {fewer}"


def _uneven(question: Question, ranks: int) -> str:
    text = question.config.text
    sizes = [f"{text.num_heads} heads"] if question.engine == "vllm" else []
    sizes += [f"{text.moe.num_experts} experts"] if text.moe is not None else []
    evenly = ", ".join(map(str, rank_counts(text, question.engine, MOST_RANKS)))
    return f"{ranks} ranks cannot share {' and '.join(sizes) or 'a model without experts'} evenly; use {evenly}"


def _shortage(question: Question, found: Layout) -> str:
    beside = found.usable_bytes - found.weight_bytes - found.kv_bytes
    gpus = f"{found.ranks} x {question.gpu.title}" if found.ranks > 1 else question.gpu.title
    return (
        f"{gpus}: of {_gib(found.usable_bytes)} that it may fill, weights take {_gib(found.weight_bytes)} and what "
        f"runs them {_gib(beside)}; a first sequence of {question.context:,} tokens wants "
        f"{_gib(found.first_bytes)} of KV cache, and {_gib(max(0, found.kv_bytes))} are left"
    )


def _what_to_set(question: Question, found: Layout, most_ranks: int) -> str:
    """Single changes after which it fits, as configuration."""
    changes = _native_changes(question, found) if question.engine == "native" else _vllm_changes(question, found)
    fits = _fitting(changes) + _fitting(_more_ranks(question, found, most_ranks))[:1]
    longest = longest_context(replace(question, count=found.ranks))
    if 0 < longest < question.context:
        fits.insert(0, f"max_context_tokens: {longest}")
    return f"set {', or '.join(fits)}" if fits else "use larger GPUs or a smaller variant"


def _fitting(changes: list[Change]) -> list[str]:
    return [words for words, changed, ranks in changes if layout(changed, ranks).fits]


def _more_ranks(question: Question, found: Layout, most: int) -> list[Change]:
    return [
        (f"{_FIELD[question.engine]}: {ranks} with num_gpus: {ranks}", question, ranks)
        for ranks in rank_counts(question.config.text, question.engine, most)
        if ranks > found.ranks
    ]


def _native_changes(question: Question, found: Layout) -> list[Change]:
    int4 = NATIVE_QUANTIZATIONS["int4"]
    return [
        (f"max_batch_size: {found.ranks}", replace(question, sequences=found.ranks), found.ranks),
        ("weights: int4", replace(question, quantization=int4), found.ranks),
    ]


def _vllm_changes(question: Question, found: Layout) -> list[Change]:
    changes: list[Change] = []
    fp8, w4a16 = VLLM_QUANTIZATIONS["fp8"], VLLM_QUANTIZATIONS["w4a16"]
    if question.kv == "bf16" and question.gpu.has_fp8:
        changes.append(("kv_cache_dtype: fp8", replace(question, kv="fp8"), found.ranks))
    if question.quantization.bits > fp8.bits:
        changes.append(("quantization: fp8_per_channel", replace(question, quantization=fp8), found.ranks))
    for name, checkpoint in W4A16_CHECKPOINTS.items():
        if VARIANTS[name] == question.config and question.quantization.linear_bits > w4a16.linear_bits:
            changes.append((f"checkpoint: {checkpoint}", replace(question, quantization=w4a16), found.ranks))
    return changes


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count or 'none'}"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
