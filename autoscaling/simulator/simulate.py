"""Runs a trace through the queue of a variant while a policy scales it, and says what came of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaling.signals import VariantSignals
from autoscaling.simulator.figures import EngineFigures
from autoscaling.simulator.fleet import Fleet
from autoscaling.simulator.outcome import Outcome, Targets, outcome
from autoscaling.simulator.queue_model import QueueModel
from autoscaling.simulator.scaler import Scaler
from autoscaling.simulator.trace import Floats, Trace

# Serve's replicas and handles report every 10 s, and its decisions look back on 30 s.
REPORT_S = 10.0
LOOK_BACK_S = 30.0
# A replica that stops stays until its answers have ended: all but the longest, by tokens.
_DRAIN_SHARE = 0.95


@dataclass(frozen=True)
class History:
    """What happened in each of T steps."""

    replicas_T: Floats  # that cost GPUs: starting, serving, draining
    target_T: Floats
    ongoing_T: Floats


def simulate(trace: Trace, figures: EngineFigures, scaler: Scaler, targets: Targets, replicas: int) -> Outcome:
    """Begins with so many replicas, ready."""
    queue, fleet = QueueModel(trace, figures), Fleet(replicas)
    history = History(np.zeros(trace.steps), np.zeros(trace.steps), np.zeros(trace.steps))
    drain_tokens = _drain_tokens(trace)
    every = max(1, round(REPORT_S / trace.step_s))
    for step in range(trace.steps):
        fleet.advance(step * trace.step_s, queue.answered_tokens)
        queue.advance(step, fleet.ready, fleet.draining)
        history.ongoing_T[step] = queue.running + queue.waiting
        if step % every == every - 1:
            signals = _signals(trace, figures, queue, fleet, step, every)
            target = scaler.replicas(signals, _mean_ongoing(history.ongoing_T, step, trace.step_s), fleet.target)
            if target != fleet.target:
                fleet.scale(target, signals.time_s, figures.cold_start_s, queue.answered_tokens + drain_tokens)
        history.target_T[step] = fleet.target
        history.replicas_T[step] = fleet.ready + fleet.starting + fleet.draining
    return outcome(scaler.name, trace, figures, targets, queue, history.replicas_T, history.target_T)


def _signals(
    trace: Trace, figures: EngineFigures, queue: QueueModel, fleet: Fleet, step: int, every: int
) -> VariantSignals:
    arrived = trace.counts_TK[max(0, step + 1 - every) : step + 1]
    seconds = len(arrived) * trace.step_s
    requests, output_tokens = float(arrived.sum()), float((arrived @ trace.output_tokens_K).sum())
    waiting = queue.waiting
    return VariantSignals(
        time_s=(step + 1) * trace.step_s,
        ready=fleet.ready,
        starting=fleet.starting,
        running=queue.running,
        waiting=waiting if fleet.ready else 0.0,
        held=0.0 if fleet.ready else waiting,
        prefill_tokens_waiting=queue.waiting_tokens,
        decode_tokens_in_flight=queue.tokens_to_come,
        kv_tokens=queue.kv_tokens,
        kv_capacity_tokens=figures.kv_tokens,
        requests_per_s=requests / seconds,
        prompt_tokens_per_s=float((arrived @ trace.prompt_tokens_K).sum()) / seconds,
        tokens_per_answer=output_tokens / max(1.0, requests),
        itl_s=queue.itl_s,
        cold_start_s=figures.cold_start_s,
    )


def _mean_ongoing(ongoing_T: Floats, step: int, step_s: float) -> float:
    first = max(0, step + 1 - round(LOOK_BACK_S / step_s))
    return float(ongoing_T[first : step + 1].mean())


def _drain_tokens(trace: Trace) -> float:
    """Of the longest answer but for the last few of a hundred."""
    by_kind = trace.counts_TK.sum(axis=0)
    order = np.argsort(trace.output_tokens_K)
    share = np.cumsum(by_kind[order]) / max(1.0, by_kind.sum())
    return float(trace.output_tokens_K[order][np.searchsorted(share, _DRAIN_SHARE).clip(max=len(order) - 1)])
