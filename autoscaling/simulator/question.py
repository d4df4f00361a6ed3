"""From what was asked on the command line to the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from autoscaling.simulator.azure import read_trace
from autoscaling.simulator.comparison import compare, work
from autoscaling.simulator.figures import EngineFigures
from autoscaling.simulator.loads import LOADS, generate
from autoscaling.simulator.outcome import Targets
from autoscaling.simulator.report import text_report
from autoscaling.simulator.trace import Trace

DEFAULT_REPLICAS = 20
MOST_REPLICAS = 10_000
_BUSY = 0.5
_GENERATED_HOURS = 24.0


@dataclass(frozen=True)
class Question:
    """`figures` are step_s, sequence_s, prefill_tokens_per_s, max_sequences, cold_start_s."""

    load: str
    trace: Path | None
    hours: float
    replicas: int | None
    ttft_s: float
    itl_s: float
    figures: tuple[float, float, float, int, float]
    seed: int = 0
    whole_grid: bool = False


def answer(question: Question, progress: Callable[[int, int], None]) -> str:
    """The report. Raises ValueError that says what to change."""
    figures = _figures(question)
    targets = Targets(question.ttft_s, itl_s=question.itl_s)
    if question.itl_s <= figures.decode_step_s(1):
        raise ValueError(
            f"--itl: {question.itl_s:g} s is below a step of one sequence, {figures.decode_step_s(1):.3g} s: no batch "
            "can keep it; raise it, or give a faster --step-ms"
        )
    if question.replicas is not None and not 1 <= question.replicas <= MOST_REPLICAS:
        raise ValueError(f"--replicas: {question.replicas} is not between 1 and {MOST_REPLICAS:,}")
    trace = _sized(_trace(question), question, figures)
    replicas = max(1, round(float(work(trace, figures).mean()) / _BUSY))
    comparison = compare(trace, figures, targets, replicas, progress)
    return text_report(trace, figures, targets, comparison, question.whole_grid)


def _trace(question: Question) -> Trace:
    if question.trace is not None:
        return read_trace(question.trace).first(question.hours * 3600)
    if question.load not in LOADS:
        close = get_close_matches(question.load, LOADS, 1)
        hint = f"did you mean {close[0]}?" if close else f"use one of {', '.join(LOADS)}"
        raise ValueError(f"--load: unknown load {question.load!r}; {hint}")
    if question.hours > _GENERATED_HOURS:
        raise ValueError(f"--hours: {question.hours:g} is too long for a load made up; a day is the most")
    # Shapes are the same at any rate; one a second is enough to measure its work by.
    likeness = generate(question.load, question.hours * 3600, 1.0, question.seed)
    busy = float(work(likeness, _figures(question)).mean())
    rate = (question.replicas or DEFAULT_REPLICAS) * _BUSY / busy
    return generate(question.load, question.hours * 3600, rate, question.seed)


def _sized(trace: Trace, question: Question, figures: EngineFigures) -> Trace:
    if question.trace is None or question.replicas is None:
        return trace
    return trace.scaled(question.replicas * _BUSY / float(work(trace, figures).mean()))


def _figures(question: Question) -> EngineFigures:
    step_s, sequence_s, prefill, sequences, cold_start_s = question.figures
    return EngineFigures(step_s, sequence_s, prefill, max_sequences=sequences, cold_start_s=cold_start_s)
