"""The work to come by the time a replica asked for now would be ready: a line through what was measured lately."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MOST_GROWTH = 2.0
_FEWEST = 6
_JUMP = 6.0
# Reports come every 10 s: what is shorter is no trend, however often it was read.
_LEAST_SPAN_S = 50.0


def level(history: Sequence[tuple[float, float]], span_s: float) -> float:
    """The mean of the values not older than `span_s`. `history` is (seconds, value), oldest first.

    If there are no older ones, the greatest: it begins with a jump, and the first value was measured while it lasted.
    """
    now = history[-1][0]
    recent = [value for time, value in history if time > now - span_s]
    return max(recent) if len(recent) == len(history) else mean(recent)


def has_jumped(history: Sequence[tuple[float, float]]) -> bool:
    """The last value is outside all noise before it: six standard deviations of what is older."""
    before = [value for _, value in history[:-1]]
    if len(before) < _FEWEST:
        return False
    usual = mean(before)
    noise = math.sqrt(mean([(value - usual) ** 2 for value in before]))
    return abs(history[-1][1] - usual) > _JUMP * noise


def forecast(history: Sequence[tuple[float, float]], present: float, horizon_s: float) -> float:
    """`history` is (seconds, work), oldest first; the answer is never below `present`.

    A rise counts only as far as it stands out of the noise around the line (two standard errors of its slope), and to
    at most twice the present: what rose fastest falls fastest.
    """
    now = history[-1][0]
    if len(history) < _FEWEST or now - history[0][0] < _LEAST_SPAN_S or present <= 0:
        return present
    slope, error = _line([(time - now, value) for time, value in history])
    return min(present * _MOST_GROWTH, present + max(0.0, slope - 2 * error) * horizon_s)


def is_falling(history: Sequence[tuple[float, float]]) -> bool:
    """The line through it goes down by more than four standard errors."""
    if len(history) < 2 * _FEWEST:
        return False
    slope, error = _line(history)
    return slope + 4 * error < 0


def mean(values: Sequence[float]) -> float:
    """Of one value at least."""
    return sum(values) / len(values)


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Least squares: the slope, and its standard error."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        return 0.0, 0.0
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return slope, float((rest / (count - 2) / spread) ** 0.5)
