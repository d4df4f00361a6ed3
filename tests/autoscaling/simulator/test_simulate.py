"""The queue model against what can be said without it, and runs of a policy over it."""

from __future__ import annotations

import time

import numpy as np
import pytest

from autoscaling.settings import PolicySettings
from autoscaling.signals import VariantSignals
from autoscaling.simulator.figures import EngineFigures, calibrate
from autoscaling.simulator.fleet import Fleet
from autoscaling.simulator.loads import LOADS, generate
from autoscaling.simulator.ours import TokenScaler
from autoscaling.simulator.outcome import Outcome, Targets
from autoscaling.simulator.queue_model import QueueModel
from autoscaling.simulator.scaler import Scaler
from autoscaling.simulator.simulate import simulate
from autoscaling.simulator.trace import Trace

FIGURES = EngineFigures(0.02, 0.0005, 10_000, chunk_tokens=1_000, max_sequences=32, cold_start_s=30)
TARGETS = Targets()


class Fixed(Scaler):
    """A policy for tests: a number of replicas from a time on."""

    name = "fixed"

    def __init__(self, replicas: int, from_s: float = 0.0) -> None:
        self._replicas, self._from_s = replicas, from_s

    def replicas(self, signals: VariantSignals, mean_ongoing: float, target: int) -> int:
        return self._replicas if signals.time_s >= self._from_s else target


def _trace(prompt: float, output: float, counts: list[float]) -> Trace:
    counts_TK = np.array(counts, dtype=float)[:, None]
    return Trace("test", 1.0, np.array([prompt]), np.array([output]), counts_TK)


def _run(trace: Trace, scaler: Scaler, replicas: int) -> Outcome:
    return simulate(trace, FIGURES, scaler, TARGETS, replicas)


def test_answers_take_as_long_as_their_steps() -> None:
    queue = QueueModel(_trace(10, 1_000, [1, *[0] * 60]), FIGURES)
    running = []
    for step in range(61):
        queue.advance(step, 1, 0)
        running.append(queue.running)
    # 1,000 steps of 20.5 ms: 20.5 s, after a step for the prompt.
    assert running[20] == 1
    assert running[23] == 0


def test_requests_are_neither_lost_nor_made() -> None:
    trace = generate("bursty", 1_200, 20, seed=3)
    queue = QueueModel(trace, FIGURES)
    for step in range(trace.steps):
        queue.advance(step, 5, 0)
        assert queue.running <= 5 * FIGURES.max_sequences + 1e-6
    assert queue.arrived == trace.requests
    assert 0 <= queue.started <= queue.arrived + 1e-6


def test_a_replica_computes_as_many_prompts_as_its_figures_say() -> None:
    """Prompts alone: 1,000 tokens in a step of 120 ms are 8,333 tokens/s, so 3 s of 10,000 tokens/s wait."""
    queue = QueueModel(_trace(1_000, 1, [10] * 300), FIGURES)
    for step in range(300):
        queue.advance(step, 1, 0)
    assert queue.started / 300 == pytest.approx(8.2, abs=0.2)


def test_a_long_prompt_keeps_one_replica_and_no_more() -> None:
    """80,000 tokens take a replica 9.6 s; 2 replicas begin the third when the first ends."""
    queue = QueueModel(_trace(80_000, 1, [3, *[0] * 30]), FIGURES)
    started = []
    for step in range(31):
        queue.advance(step, 2, 0)
        started.append(queue.started)
    assert started[8] == pytest.approx(2)
    assert started[12] == pytest.approx(3)


def test_enough_replicas_keep_all_targets_and_too_few_do_not() -> None:
    trace = generate("steady", 900, 20, seed=1)
    enough, few = _run(trace, Fixed(12), 12), _run(trace, Fixed(2), 2)
    assert enough.attainment == pytest.approx(1)
    assert (enough.mean_queue_s, enough.flaps) == (pytest.approx(0, abs=0.01), 0)
    assert few.attainment < 0.3
    assert few.p99_queue_s > 60
    assert enough.gpu_hours == pytest.approx(12 * 900 / 3600)


def test_a_new_replica_costs_from_the_start_and_serves_after_it() -> None:
    fleet = Fleet(1)
    fleet.scale(3, now_s=0, cold_start_s=30, gone_at=0)
    fleet.advance(29, 0)
    assert (fleet.ready, fleet.starting) == (1, 2)
    fleet.advance(30, 0)
    assert (fleet.ready, fleet.starting) == (3, 0)


def test_replicas_that_start_are_stopped_first_and_others_finish_their_answers() -> None:
    fleet = Fleet(2)
    fleet.scale(5, now_s=0, cold_start_s=30, gone_at=0)
    fleet.scale(1, now_s=10, cold_start_s=30, gone_at=500)
    assert (fleet.ready, fleet.starting, fleet.draining) == (1, 0, 1)
    fleet.advance(20, 499)
    assert fleet.draining == 1
    fleet.advance(21, 500)
    assert fleet.draining == 0


def test_no_replica_no_answer_and_nobody_is_lost() -> None:
    outcome = _run(_trace(100, 10, [1] * 20 + [0] * 100), Fixed(1, from_s=30), 0)
    assert outcome.attainment == 0
    assert 30 < outcome.mean_queue_s < 70


def test_figures_are_calibrated_from_measured_steps() -> None:
    steps = [(b, p, 0.02 + 0.001 * b + p / 5_000) for b in (1, 8, 32) for p in (0, 512)]
    figures = calibrate(steps, max_sequences=32)
    assert (figures.step_s, figures.sequence_s) == (pytest.approx(0.02), pytest.approx(0.001))
    assert (figures.prefill_tokens_per_s, figures.max_sequences) == (pytest.approx(5_000), 32)
    with pytest.raises(ValueError, match="differ in sequences"):
        calibrate([(1, 0, 0.1), (2, 0, 0.2), (3, 0, 0.3)])
    with pytest.raises(ValueError, match="all must be above 0"):
        calibrate([(1, 0, 0.3), (2, 0, 0.2), (2, 100, 0.3)])


@pytest.mark.parametrize("load", LOADS)
def test_a_load_is_the_same_for_the_same_seed_and_as_heavy_as_asked(load: str) -> None:
    trace, again = generate(load, 3_600, 5, seed=7), generate(load, 3_600, 5, seed=7)
    assert np.array_equal(trace.counts_TK, again.counts_TK)
    assert trace.requests / 3_600 == pytest.approx(5, rel=0.05)


def test_a_burst_is_at_most_five_times_the_load() -> None:
    """Of six hours, by the five minutes: the wave itself is from 0.72 to 1.28 of its mean."""
    for seed in range(5):
        counts_T = generate("bursty", 21_600, 50, seed).counts_TK.sum(axis=1)
        means = counts_T.reshape(-1, 300).mean(axis=1)
        assert 2 < means.max() / np.median(means) < 5 * 1.28 / 0.72 * 1.05


def test_ten_thousand_replicas_cost_no_more_time_than_one() -> None:
    """A tenth of a day; a day in a minute is the promise, whatever the fleet."""
    scaler = TokenScaler(PolicySettings(max_replicas=50_000, sequences=32, decode_tokens_per_s=800))
    trace = generate("diurnal", 8_640, 15_000)
    started = time.process_time()
    outcome = _run(trace, scaler, 5_000)
    assert time.process_time() - started < 6
    assert outcome.peak_replicas > 10_000
    assert outcome.attainment > 0.9
