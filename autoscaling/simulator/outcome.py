"""What a simulation came to: targets kept, GPU-hours, waiting, and how often the policy changed its mind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaling.simulator.figures import EngineFigures
from autoscaling.simulator.queue_model import QueueModel
from autoscaling.simulator.trace import Floats, Trace

FLAP_S = 900.0
_CHUNK = 4096  # steps at once, so that a day's T x K tables stay small


@dataclass(frozen=True)
class Targets:
    """Of a request: its first token within ttft_s and so much more for each 1,000 tokens of prompt, then itl_s."""

    ttft_s: float = 2.0
    ttft_s_per_1k: float = 0.2
    itl_s: float = 0.1


@dataclass(frozen=True)
class Outcome:
    """Of one policy on one trace."""

    policy: str
    attainment: float  # share of requests that met all targets
    gpu_hours: float
    mean_queue_s: float
    p99_queue_s: float
    flaps: int  # changes of direction within FLAP_S
    peak_replicas: float
    replicas_T: Floats


def outcome(
    policy: str,
    trace: Trace,
    figures: EngineFigures,
    targets: Targets,
    queue: QueueModel,
    replicas_T: Floats,
    target_T: Floats,
) -> Outcome:
    """Reads it off the queue's past."""
    wait_T = queue.first_token_T()
    weights_T = trace.counts_TK.sum(axis=1)
    hours = float(replicas_T.sum()) * trace.step_s / 3600
    known_T = np.where(np.isfinite(wait_T), wait_T, trace.steps * trace.step_s)
    return Outcome(
        policy=policy,
        attainment=_attainment(trace, figures, targets, queue, wait_T),
        gpu_hours=hours * figures.gpus,
        mean_queue_s=float(known_T @ weights_T / max(1.0, weights_T.sum())),
        p99_queue_s=_quantile(known_T, weights_T, 0.99),
        flaps=_flaps(target_T, trace.step_s),
        peak_replicas=float(target_T.max()),
        replicas_T=replicas_T,
    )


def _attainment(trace: Trace, figures: EngineFigures, targets: Targets, queue: QueueModel, wait_T: Floats) -> float:
    allowed_K = targets.ttft_s + targets.ttft_s_per_1k * trace.prompt_tokens_K / 1000
    kept = 0.0
    for first in range(0, trace.steps, _CHUNK):
        rows = slice(first, min(trace.steps, first + _CHUNK))
        ttft_TK, itl_TK = _latencies(trace, figures, queue, wait_T, rows)
        kept += float(trace.counts_TK[rows][(ttft_TK <= allowed_K) & (itl_TK <= targets.itl_s)].sum())
    return kept / max(1.0, trace.requests)


def _latencies(
    trace: Trace, figures: EngineFigures, queue: QueueModel, wait_T: Floats, rows: slice
) -> tuple[Floats, Floats]:
    """Time to the first token, and between tokens, of the requests that came in these steps."""
    last = trace.steps - 1
    wait_T1 = wait_T[rows, None]
    arrival_T1 = np.arange(rows.start, rows.stop)[:, None] * trace.step_s
    start = np.clip((arrival_T1 + np.where(np.isfinite(wait_T1), wait_T1, 0)) / trace.step_s, 0, last).astype(int)
    rate_T1 = np.maximum(queue.prefill_rate_T[start], 1.0)
    ttft_TK = wait_T1 + trace.prompt_tokens_K / rate_T1 + figures.decode_step_s(0)
    begun_TK = np.clip((arrival_T1 + np.where(np.isfinite(ttft_TK), ttft_TK, 0)) / trace.step_s, 0, last)
    clock_TK = np.interp(begun_TK, np.arange(trace.steps), queue.clocks_T)
    ended_TK = np.interp(clock_TK + trace.output_tokens_K, queue.clocks_T, np.arange(trace.steps), right=last)
    done_TK = np.interp(ended_TK, np.arange(trace.steps), queue.clocks_T) - clock_TK
    itl_TK = (ended_TK - begun_TK) * trace.step_s / np.maximum(done_TK, 1e-6)
    return ttft_TK, np.where(done_TK < 1, 0.0, itl_TK)  # answers cut off by the trace's end kept their pace


def _quantile(values: Floats, weights: Floats, share: float) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, share * cumulative[-1]).clip(max=len(values) - 1)])


def _flaps(target_T: Floats, step_s: float) -> int:
    """Changes of the target against the last one's direction, soon after it."""
    changes = np.diff(target_T)
    steps = np.flatnonzero(changes)
    turned = np.sign(changes[steps][1:]) != np.sign(changes[steps][:-1])
    return int((turned & (np.diff(steps) * step_s <= FLAP_S)).sum())
