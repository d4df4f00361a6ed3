"""Measured cold starts."""

from __future__ import annotations

from autoscaling.cold_starts import ColdStarts


def _after(*moments: tuple[float, int, int]) -> ColdStarts:
    """From (seconds, target, ready) of each moment."""
    seen = ColdStarts()
    for moment in moments:
        seen = seen.observe(*moment)
    return seen


def test_nothing_is_known_before_a_replica_was_seen_to_start() -> None:
    assert _after((0, 3, 3), (10, 3, 3), (20, 1, 1)).estimate_s is None


def test_the_first_asked_for_is_the_first_ready() -> None:
    seen = _after((0, 1, 1), (10, 2, 1), (20, 3, 1), (50, 3, 2), (70, 3, 3))
    assert seen.took_s == (40, 50)
    assert seen.estimate_s == 45


def test_a_replica_that_is_not_wanted_any_more_is_not_waited_for() -> None:
    assert _after((0, 1, 1), (10, 4, 1), (20, 1, 1), (30, 2, 1), (90, 2, 2)).took_s == (60,)


def test_a_lost_replica_that_comes_back_was_not_asked_for() -> None:
    assert _after((0, 2, 2), (10, 2, 1), (20, 2, 2)).estimate_s is None


def test_what_remains_is_the_median_of_those_that_took_longer_than_this_one_has() -> None:
    seen = ColdStarts(1, 1, (), (10.0, 20.0, 60.0))
    assert seen.remaining_s(1000.0) == 20  # were one asked for now
    seen = seen.observe(1000.0, 2, 1)
    assert [seen.remaining_s(1000.0 + waited_s) for waited_s in (0, 15, 30)] == [20, 25, 30]
    assert seen.remaining_s(1070.0) is None
    assert ColdStarts().remaining_s(0.0) is None


def test_only_the_last_few_count() -> None:
    moments = [(-1.0, 1, 1)]
    for number, took_s in enumerate([90.0] * 3 + [5.0] * 8):
        asked_s = 100.0 * number
        moments += [(asked_s, 2, 1), (asked_s + took_s, 2, 2), (asked_s + 95, 1, 1)]
    assert _after(*moments).estimate_s == 5
