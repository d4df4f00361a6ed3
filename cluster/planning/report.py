"""A plan for people to read: the answer, what each number of GPUs gives, where memory goes, what to paste."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cluster.planning.gpus import GIB, GPUS
from cluster.planning.layout import Layout
from cluster.planning.paste import config_yaml
from cluster.planning.plan import Plan, alternatives
from cluster.planning.question import Question

_HEADER = ("GPUs", "weights", "other", "KV cache", "needed", "KV tokens", "sequences", "")


def text_report(plan: Plan) -> str:
    """Everything, with the configuration last."""
    parts = [headline(plan), _table(plan), _memory(plan.best), *_notes(plan)]
    if plan.chosen is None:
        parts.append(_advice(plan.question))
    else:
        parts.append(f"Configuration for gemma-cluster up --config FILE:\n\n{config_yaml(plan).rstrip()}")
    return "\n\n".join(parts)


def headline(plan: Plan) -> str:
    """The question, and its answer in one sentence."""
    question = plan.question
    asked = (
        f"{question.variant} on {question.gpu.title}, {question.context:,} tokens of context, "
        f"{question.quantization.name} weights, {question.kv} KV cache, {question.engine} engine"
    )
    return f"{asked}\n{_answer(plan)}"


def gpu_list() -> str:
    """The table of GPUs."""
    header = ("NAME", "GPU", "MEMORY", "FP8", "NVLINK", "BATCH", "SHARE", "ATTENTION IN VLLM")
    rows = [
        (
            gpu.name,
            gpu.title,
            f"{gpu.memory_gib:.1f} GiB",
            _yes(gpu.has_fp8),
            _yes(gpu.has_nvlink),
            str(gpu.max_sequences),
            f"{gpu.gpu_memory_utilization:g}",
            gpu.attention,
        )
        for gpu in GPUS.values()
    ]
    return _columns([header, *rows], left={0, 1, 3, 4, 7})


def _answer(plan: Plan) -> str:
    if plan.chosen is None:
        best = plan.best
        return f"does not fit: {_gpus(best.ranks)} a replica would lack {best.missing_bytes / GIB:.1f} GiB each"
    layout = plan.chosen
    sequences = f"{layout.sequences} sequence{'s' if layout.sequences > 1 else ''} of full length"
    fits = f"fits on {_gpus(layout.ranks)}: {sequences}, {layout.kv_tokens:,} tokens of KV"
    if plan.question.count is None:
        return fits
    of_each = " each" if plan.replicas > 1 else ""
    return f"{fits}{of_each}; {_replicas(plan.replicas)} on {_gpus(plan.question.count)}"


def _table(plan: Plan) -> str:
    """A row for each number of GPUs; memory in GiB a GPU."""
    rows = [
        (
            str(layout.ranks),
            _gib(layout.weight_bytes),
            _gib(layout.usable_bytes - layout.weight_bytes - layout.kv_bytes),
            _gib(layout.kv_bytes),
            _gib(layout.first_bytes),
            f"{layout.kv_tokens:,}",
            str(layout.sequences),
            "<- this" if layout is plan.chosen else "" if layout.fits else "too small",
        )
        for layout in plan.tried
    ]
    title = "GPUs of a replica, GiB on each, and what the replica holds"
    return f"{title}\n{_columns([_HEADER, *rows], left={7})}"


def _memory(layout: Layout) -> str:
    """Where one GPU's memory goes."""
    weights = [(f"  {part}", size) for part, size in layout.weights.items() if size]
    rows = [
        ("it may fill", layout.usable_bytes),
        ("weights", layout.weight_bytes),
        *weights,
        ("  position tables", layout.rope_bytes),
        ("activations", layout.activation_bytes),
        ("CUDA graphs", layout.graph_bytes),
        ("CUDA and communication", layout.runtime_bytes),
        ("left free for activations", layout.reserve_bytes),
        ("KV cache, of the rest", layout.kv_bytes),
        ("  first sequence, while its prompt is computed", layout.first_bytes),
        ("  each further one", layout.next_bytes),
    ]
    shown = [(name, f"{size / GIB:8.2f}") for name, size in rows if size]
    return f"One GPU of {layout.ranks}, GiB\n{_columns(shown, left={0})}"


def _notes(plan: Plan) -> Iterator[str]:
    """What the numbers do not say."""
    question, layout = plan.question, plan.best
    if question.engine == "vllm":
        yield f"Attention: {question.gpu.attention}; vLLM chooses it."
        yield (
            "Beside weights and KV cache these are estimates; vLLM's log says what is. It counts every sequence as if "
            f'its prompt\nwere being computed, and will say "Maximum concurrency" about '
            f"{max(0, layout.kv_bytes) / layout.first_bytes:.1f}x."
        )
    if layout.ranks > 1 and not question.gpu.has_nvlink:
        yield f"{question.gpu.title} has no NVLink: ranks of a replica meet over PCIe in every layer, which costs time."
    heads = min(spec.num_kv_heads for spec in question.config.text.layers)
    if question.engine == "native" and layout.ranks > 1:
        yield "Each rank has sequences of its own, and the KV cache for them; they share the experts."
    elif layout.ranks > heads:
        yield f"Layers with {heads} key/value head{'s' if heads > 1 else ''} repeat it on {layout.ranks} GPUs."


def _advice(question: Question) -> str:
    found = alternatives(question)
    if not found:
        return "No single change makes it fit; take a smaller variant."
    return "\n".join(["What would change that:", *(f"  {change}" for change in found)])


def _columns(rows: Sequence[Sequence[str]], left: set[int]) -> str:
    """Cells in columns, to the right but for those in `left`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"  {'  '.join(cells).rstrip()}")
    return "\n".join(lines)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"


def _gpus(count: int) -> str:
    return f"{count} GPU{'s' if count > 1 else ''}"


def _replicas(count: int) -> str:
    return f"{count} replica{'s' if count > 1 else ''}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
