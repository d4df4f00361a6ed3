"""Our policy against Ray Serve's default one: both tuned over the same grid, on the same requests."""

from __future__ import annotations

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
from autoscaling.simulator.trace import Trace

# Share of a replica to plan with. For Ray Serve, of the requests of its largest batch that keeps the target.
SHARES = (0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9)
DOWN_DELAYS_S = (60.0, 300.0)
PEAK_SHARE = 0.8


@dataclass(frozen=True)
class Choice:
    """A point of the grid, and what came of it. Without a share it is Serve as it is shipped."""

    share: float | None
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
    """Attainment for so many GPU-hours, likewise; that of the cheapest setting for fewer."""
    hours, reached = _frontier(choices)
    return float(np.interp(gpu_hours, hours, reached))


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
    """Starts each run with so many replicas; none may have more than five times as many."""
    most = 5 * replicas
    points = [(share, delay) for share in SHARES for delay in DOWN_DELAYS_S]
    total = 2 * len(points) + 1
    done: list[Choice] = []

    def run(share: float | None, delay_s: float, scaler: Scaler) -> Choice:
        choice = Choice(share, delay_s, simulate(trace, figures, scaler, targets, replicas))
        done.append(choice)
        progress(len(done), total)
        return choice

    ours = [run(share, delay, _ours(figures, targets, most, share, delay)) for share, delay in points]
    serve = [run(share, delay, _serve(figures, targets, most, share, delay)) for share, delay in points]
    shipped = ServeSettings(max_replicas=most)
    as_shipped = run(None, shipped.downscale_delay_s, ServeScaler(shipped, "Ray Serve, its defaults"))
    return Comparison(tuple(ours), tuple(serve), as_shipped)


def _ours(figures: EngineFigures, targets: Targets, most: int, share: float, delay_s: float) -> Scaler:
    sequences = figures.sequences_at(targets.itl_s)
    return TokenScaler(
        PolicySettings(
            max_replicas=most,
            sequences=sequences,
            prefill_tokens_per_s=figures.prefill_tokens_per_s,
            decode_tokens_per_s=sequences / figures.decode_step_s(sequences),
            ttft_s=targets.ttft_s,
            itl_s=targets.itl_s,
            utilization=share,
            peak_utilization=max(share, PEAK_SHARE),
            down_delay_s=delay_s,
        )
    )


def _serve(figures: EngineFigures, targets: Targets, most: int, share: float, delay_s: float) -> Scaler:
    """Goes up without any delay, as ours does: that is its better side."""
    ongoing = share * figures.sequences_at(targets.itl_s)
    return ServeScaler(
        ServeSettings(max_replicas=most, target_ongoing_requests=ongoing, upscale_delay_s=0, downscale_delay_s=delay_s)
    )
