"""The measured drain rate: known from the first end on, true to what happens, and a time to come back for each."""

from __future__ import annotations

import pytest

from cluster.admission.drain_rate import DrainRate


def _drained(rate: DrainRate, ends: int, every_s: float, start: float = 0.0) -> float:
    """So many ends while others wait; returns the time then."""
    now = start
    for _ in range(ends):
        now += every_s
        rate.tick(now, is_busy=True)
        rate.ended(4 * every_s, is_busy=True)
    return now


def test_nothing_is_known_before_a_request_has_ended() -> None:
    rate = DrainRate()
    assert rate.per_s(8) is None
    assert rate.retry_after_s(0.0, 8) == 1.0


def test_after_the_first_end_it_is_what_the_slots_could_do() -> None:
    rate = DrainRate()
    rate.tick(0.0, is_busy=False)
    rate.ended(2.0, is_busy=False)
    assert rate.per_s(8) == pytest.approx(4.0)


@pytest.mark.parametrize("every_s", [0.01, 0.5, 3.0])
def test_it_is_what_was_measured_while_requests_waited(every_s: float) -> None:
    rate = DrainRate()
    rate.tick(0.0, is_busy=True)
    _drained(rate, 200, every_s)
    assert rate.per_s(4) == pytest.approx(1 / every_s, rel=0.05)


def test_idle_time_does_not_count() -> None:
    rate = DrainRate()
    rate.tick(0.0, is_busy=True)
    now = _drained(rate, 100, 0.1)
    before = rate.per_s(4)
    rate.tick(now + 3600, is_busy=False)
    assert rate.per_s(4) == before


def test_it_falls_when_nothing_ends_any_more() -> None:
    rate = DrainRate()
    rate.tick(0.0, is_busy=True)
    now = _drained(rate, 100, 0.1)
    before = rate.per_s(4)
    rate.tick(now + 60, is_busy=True)
    assert before is not None
    assert (rate.per_s(4) or 0) < before / 5


def test_each_refused_caller_is_told_a_later_time_as_fast_as_the_queue_drains() -> None:
    rate = DrainRate()
    rate.tick(0.0, is_busy=True)
    now = _drained(rate, 300, 0.5)
    step = 1 / (rate.per_s(1) or 0)
    told = [rate.retry_after_s(now, 1) for _ in range(4)]
    assert told == pytest.approx([step, 2 * step, 3 * step, 4 * step])
    assert rate.retry_after_s(now + 100, 1) == pytest.approx(step)


def test_nobody_is_sent_away_for_more_than_a_minute_or_told_to_come_at_once() -> None:
    slow, fast = DrainRate(), DrainRate()
    slow.ended(1e6, is_busy=False)
    fast.ended(1e-9, is_busy=False)
    assert [slow.retry_after_s(0.0, 1) for _ in range(3)] == [60.0] * 3
    assert fast.retry_after_s(0.0, 1) == 0.1


def test_the_least_time_to_a_token_follows_what_is_faster_at_once_and_what_is_slower_slowly() -> None:
    rate = DrainRate()
    assert rate.first_token_s == 0
    rate.began(1.0)
    rate.began(0.1)
    assert rate.first_token_s == 0.1
    rate.began(5.0)
    assert rate.first_token_s == pytest.approx(0.105)
