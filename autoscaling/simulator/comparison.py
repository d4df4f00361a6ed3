"""Our policy against Ray Serve's default one: each tuned over as many settings of its own, on the same requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autoscaling.settings import PolicySettings
from autoscaling.simulator.figures import EngineFigures
from autoscaling.simulator.ours import TokenScaler
from autoscaling.simulator.outcome import Outcome, Targets
from autoscaling.simulator.scaler import Scaler
from autoscaling.simulator.serve_default import ServeScaler, ServeSettings
from autoscaling.simulator.simulate import simulate
from autoscaling.simulator.trace import Floats, Trace

# Share of a replica to plan with. For Ray Serve, of the requests of its largest batch that keeps the target.
SHARES = (0.1, 0.15, 0.22, 0.33, 0.5, 0.7, 0.8, 1.0)
# Serve's second setting; ours is whether room is kept in a burst for another. Serve's shorter one is ours, too.
DOWN_DELAYS_S = (30.0, 300.0)
PEAK_SHARE = 0.8
# Of the greatest minute's work. It limits what both start for those that wait: above it both only waste more.
_MOST = 1.5


@dataclass(frozen=True)
class Choice:
    """A setting, in words, and what came of it."""

    plans_with: str
    down_delay_s: float
    outcome: Outcome


@dataclass(frozen=True)
class Comparison:
    """All that was tried."""

    ours: tuple[Choice, ...]
    serve: tuple[Choice, ...]
    shipped: Choice

    def levels(self, wanted: Sequence[float]) -> list[float]:
        """The attainments to compare at: those that both reach, and the most that both reach if that is none."""
        most = min(max(item.outcome.attainment for item in side) for side in (self.ours, self.serve))
        return [level for level in wanted if level <= most] or [most]


def cheapest(choices: Sequence[Choice], attainment: float) -> Choice:
    """The fewest GPU-hours that reach it; some must."""
    enough = [item for item in choices if item.outcome.attainment >= attainment]
    return min(enough, key=lambda item: item.outcome.gpu_hours)


def hours_at(choices: Sequence[Choice], attainment: float) -> float:
    """GPU-hours for it, on the straight lines between neighbouring settings none of which is beaten in both."""
    hours, reached = _frontier(choices)
    return float(np.interp(attainment, reached, hours))


def attainment_at(choices: Sequence[Choice], gpu_hours: float) -> float:
    """Attainment for so many GPU-hours, likewise; nan for fewer than the cheapest setting takes."""
    hours, reached = _frontier(choices)
    return float(np.interp(gpu_hours, hours, reached, left=math.nan))


def _frontier(choices: Sequence[Choice]) -> tuple[list[float], list[float]]:
    """(GPU-hours, attainment), both rising."""
    hours: list[float] = []
    reached: list[float] = []
    for outcome in sorted((item.outcome for item in choices), key=lambda item: (item.gpu_hours, -item.attainment)):
        if not reached or outcome.attainment > reached[-1]:
            hours.append(outcome.gpu_hours)
            reached.append(outcome.attainment)
    return hours, reached


def compare(
    trace: Trace,
    figures: EngineFigures,
    targets: Targets,
    replicas: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Starts each run with so many replicas; none may have more than five times as many, or what the trace needs."""
    most = _most(trace, figures, replicas)
    ours = [_ours(figures, targets, most, share, peak) for share in SHARES for peak in (max(share, PEAK_SHARE), share)]
    serve = [_serve(figures, targets, most, share, delay_s) for share in SHARES for delay_s in DOWN_DELAYS_S]
    shipped = ServeSettings(max_replicas=most)
    default = ("2 requests", shipped.downscale_delay_s, ServeScaler(shipped, "Ray Serve, its defaults"))
    choices: list[Choice] = []
    for plans_with, delay_s, scaler in (*ours, *serve, default):
        choices.append(Choice(plans_with, delay_s, simulate(trace, figures, scaler, targets, replicas)))
        progress(len(choices), len(ours) + len(serve) + 1)
    return Comparison(tuple(choices[: len(ours)]), tuple(choices[len(ours) : -1]), choices[-1])


def work(trace: Trace, figures: EngineFigures) -> Floats:
    """Replicas that each step's requests keep busy for its length."""
    batch = figures.max_sequences
    decode_s = figures.decode_step_s(batch) / batch
    seconds_K = trace.prompt_tokens_K / figures.prefill_tokens_per_s + trace.output_tokens_K * decode_s
    work_T: Floats = trace.counts_TK @ seconds_K / trace.step_s
    return work_T


def _most(trace: Trace, figures: EngineFigures, replicas: int) -> int:
    steps = min(trace.steps, max(1, round(60 / trace.step_s)))
    minutes_T = np.convolve(work(trace, figures), np.full(steps, 1 / steps), "valid")
    return max(5 * replicas, math.ceil(_MOST * float(minutes_T.max())))


def _ours(
    figures: EngineFigures, targets: Targets, most: int, share: float, peak_share: float
) -> tuple[str, float, Scaler]:
    sequences = figures.sequences_at(targets.itl_s)
    settings = PolicySettings(
        max_replicas=most,
        sequences=sequences,
        prefill_tokens_per_s=figures.prefill_tokens_per_s,
        decode_tokens_per_s=sequences / figures.decode_step_s(sequences),
        ttft_s=targets.ttft_s,
        itl_s=targets.itl_s,
        utilization=share,
        peak_utilization=peak_share,
        down_delay_s=DOWN_DELAYS_S[0],
    )
    plans_with = f"{share:.0%}" if share == peak_share else f"{share:.0%}, bursts {peak_share:.0%}"
    return plans_with, settings.down_delay_s, TokenScaler(settings)


def _serve(
    figures: EngineFigures, targets: Targets, most: int, share: float, delay_s: float
) -> tuple[str, float, Scaler]:
    """Goes up without any delay, as ours does: that is its better side."""
    ongoing = share * figures.sequences_at(targets.itl_s)
    settings = ServeSettings(
        max_replicas=most, target_ongoing_requests=ongoing, upscale_delay_s=0, downscale_delay_s=delay_s
    )
    return f"{share:.0%}", delay_s, ServeScaler(settings)
