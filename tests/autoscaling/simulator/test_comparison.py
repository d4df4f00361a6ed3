"""Our policy against Ray Serve's default, for as long as a test has time."""

from __future__ import annotations

from functools import cache

import pytest

from autoscaling.simulator.comparison import Comparison, attainment_at, compare, hours_at
from autoscaling.simulator.figures import EngineFigures
from autoscaling.simulator.loads import generate
from autoscaling.simulator.outcome import Targets

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
    assert all(item.outcome.flaps <= 1 for item in _compared("steady").ours if item.down_delay_s == 300)


def test_gpu_hours_and_attainment_are_read_off_the_same_line() -> None:
    comparison = _compared("steady")
    hours = hours_at(comparison.serve, 0.95)
    assert attainment_at(comparison.serve, hours) >= 0.95
    assert attainment_at(comparison.ours, hours) >= 0.95


def test_both_are_tuned_over_the_same_grid() -> None:
    comparison = _compared("steady")
    settings = [[(item.share, item.down_delay_s) for item in side] for side in (comparison.ours, comparison.serve)]
    assert settings[0] == settings[1]
    assert comparison.shipped.share is None
