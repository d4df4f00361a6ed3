"""Our policy against Ray Serve's default, for as long as a test has time."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from autoscaling.simulator.comparison import Comparison, attainment_at, compare, hours_at, work
from autoscaling.simulator.figures import EngineFigures
from autoscaling.simulator.loads import generate
from autoscaling.simulator.outcome import Targets
from autoscaling.simulator.trace import Trace

pytestmark = pytest.mark.slow


@cache
def _compared(load: str) -> Comparison:
    trace = generate(load, 1_800, 20, seed=0, step_s=2.0)
    return compare(trace, EngineFigures(), Targets(), 20)


def test_a_steady_load_takes_no_more_gpu_hours_at_equal_attainment() -> None:
    comparison = _compared("steady")
    for level in comparison.levels((0.9, 0.95, 0.99)):
        assert hours_at(comparison.ours, level) <= hours_at(comparison.serve, level)


def test_a_steady_load_keeps_our_replicas_still() -> None:
    assert all(item.outcome.flaps <= 1 for item in _compared("steady").ours)


def test_gpu_hours_and_attainment_are_read_off_the_same_line() -> None:
    comparison = _compared("steady")
    hours = hours_at(comparison.serve, 0.95)
    assert attainment_at(comparison.serve, hours) >= 0.95
    assert attainment_at(comparison.ours, hours) >= 0.95
    assert math.isnan(attainment_at(comparison.serve, 0.9 * min(item.outcome.gpu_hours for item in comparison.serve)))


def test_each_has_as_many_settings_to_be_tuned_by() -> None:
    comparison = _compared("steady")
    assert len(comparison.ours) == len(comparison.serve) == 16
    assert len({(item.plans_with, item.down_delay_s) for item in comparison.serve}) == 16
    assert len({item.plans_with for item in comparison.ours}) >= 14
    assert comparison.shipped.plans_with == "2 requests"


def test_no_trace_needs_more_replicas_than_both_may_have() -> None:
    """Else what is compared is the limit. For one minute there are 400 times as many requests."""
    counts_TK = np.full((600, 1), 1.0)
    counts_TK[300:330] = 400
    trace = Trace("test", 2.0, np.array([600.0]), np.array([200.0]), counts_TK)
    busiest = work(trace, EngineFigures())[300:330].mean()
    assert busiest > 35
    assert max(item.outcome.peak_replicas for item in compare(trace, EngineFigures(), Targets(), 5).serve) > busiest
