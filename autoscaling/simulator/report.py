"""A comparison for people to read: what it came to, a table, and the replicas over time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autoscaling.simulator.comparison import Choice, Comparison, attainment_at, cheapest, hours_at
from autoscaling.simulator.figures import EngineFigures
from autoscaling.simulator.outcome import Outcome, Targets
from autoscaling.simulator.trace import Floats, Trace

_HEADER = ("POLICY", "PLANS WITH", "DOWN DELAY", "ON TARGET", "GPU-HOURS", "MEAN QUEUE", "P99 QUEUE", "FLAPS", "MOST")
# Shares of requests on target to compare at.
_LEVELS = (0.9, 0.95, 0.99)
_BARS = " ▁▂▃▄▅▆▇█"
_COLUMNS = 72


def text_report(
    trace: Trace, figures: EngineFigures, targets: Targets, comparison: Comparison, whole_grid: bool
) -> str:
    """Everything, the answer first."""
    levels = comparison.levels(_LEVELS)
    ours, serve = (cheapest(side, levels[-1]) for side in (comparison.ours, comparison.serve))
    parts = [
        f"{_load(trace)}\n{_replica(figures)}\n{_target(targets)}",
        _answers(comparison, levels),
        f"The cheapest settings with {levels[-1]:.1%} on target\n{_settings([ours, serve, comparison.shipped])}",
        _charts(trace, ours.outcome, serve.outcome),
    ]
    if whole_grid:
        parts.append(f"The whole grid\n{_settings([*comparison.ours, *comparison.serve])}")
    return "\n\n".join(parts)


def _load(trace: Trace) -> str:
    hours, requests = trace.steps * trace.step_s / 3600, max(1.0, trace.requests)
    by_kind = trace.counts_TK.sum(axis=0)
    prompt, output = by_kind @ trace.prompt_tokens_K / requests, by_kind @ trace.output_tokens_K / requests
    return (
        f"{trace.name}: {trace.requests:,.0f} requests in {hours:.3g} hours, "
        f"on average {prompt:,.0f} prompt and {output:,.0f} output tokens"
    )


def _replica(figures: EngineFigures) -> str:
    return (
        f"a replica: steps of {figures.step_s * 1000:.3g} ms and {figures.sequence_s * 1000:.3g} ms a sequence, "
        f"{figures.prefill_tokens_per_s:,.0f} prompt tokens/s, {figures.max_sequences} sequences, "
        f"cold start {figures.cold_start_s:.3g} s"
    )


def _target(targets: Targets) -> str:
    return (
        f"on target: first token within {targets.ttft_s:g} s, and {targets.ttft_s_per_1k:g} s more for each 1,000 "
        f"tokens of prompt, then one every {targets.itl_s:g} s"
    )


def _answers(comparison: Comparison, levels: Sequence[float]) -> str:
    """At equal attainment, and at equal GPU-hours."""
    header = ("ON TARGET", "GPU-HOURS", "RAY SERVE'S", "FEWER BY", "FOR AS MANY GPU-HOURS ON TARGET")
    rows = [header]
    for level in levels:
        ours, serve = hours_at(comparison.ours, level), hours_at(comparison.serve, level)
        points = 100 * (attainment_at(comparison.ours, serve) - level)
        more = "too few for ours" if math.isnan(points) else f"{points:+.1f} points"
        rows.append((f"{level:.1%}", f"{ours:,.1f}", f"{serve:,.1f}", f"{1 - ours / serve:.0%}", more))
    tried = f"Each policy at its best of {len(comparison.ours)} settings; between two, on a line"
    return f"{tried}\n{_table(rows)}"


def _settings(choices: Sequence[Choice]) -> str:
    return _table([_HEADER, *map(_row, choices)])


def _table(cells: Sequence[Sequence[str]]) -> str:
    """The first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        for first, *rest in cells
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _row(choice: Choice) -> tuple[str, ...]:
    outcome = choice.outcome
    return (
        outcome.policy,
        choice.plans_with,
        f"{choice.down_delay_s:.0f} s",
        f"{outcome.attainment:.1%}",
        f"{outcome.gpu_hours:,.1f}",
        f"{outcome.mean_queue_s:.2f} s",
        f"{outcome.p99_queue_s:.0f} s",
        str(outcome.flaps),
        f"{outcome.peak_replicas:,.0f}",
    )


def _charts(trace: Trace, ours: Outcome, serve: Outcome) -> str:
    tokens_T = trace.counts_TK @ (trace.prompt_tokens_K + trace.output_tokens_K) / trace.step_s
    most = max(float(item.replicas_T.max()) for item in (ours, serve))
    rows = [
        ("tokens/s asked for", tokens_T, None),
        (f"replicas, {ours.policy}", ours.replicas_T, most),
        (f"replicas, {serve.policy}", serve.replicas_T, most),
    ]
    return "\n".join(f"{name:<22}{_bars(values, top)}  {values.max():,.0f} at most" for name, values, top in rows)


def _bars(values_T: Floats, top: float | None) -> str:
    """Time from left to right: the mean of each part."""
    means = np.array([part.mean() for part in np.array_split(values_T, min(_COLUMNS, len(values_T)))])
    top = max(top or float(means.max()), 1e-9)
    return "".join(_BARS[min(len(_BARS) - 1, round(value / top * (len(_BARS) - 1)))] for value in means)
