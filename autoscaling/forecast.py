"""The work to come by the time a replica asked for now would be ready: a line through what was measured lately."""

from __future__ import annotations

from collections.abc import Sequence

_MOST_GROWTH = 2.0
_FEWEST = 6
_JUMP = 4.0


def level(history: Sequence[tuple[float, float]], span_s: float) -> float:
    """The mean of the values not older than `span_s`, unless the last one has jumped above all noise before it.

    `history` is (seconds, value), oldest first. Noise is the standard deviation of what is older than the last one.
    """
    now, last = history[-1]
    mean = _mean([value for time, value in history if time > now - span_s] or [last])
    before = [value for _, value in history[:-1]]
    if len(before) < _FEWEST:
        return mean
    usual = _mean(before)
    noise = _mean([(value - usual) ** 2 for value in before]) ** 0.5
    return last if last > usual + _JUMP * noise and last > mean else mean


def forecast(history: Sequence[tuple[float, float]], present: float, horizon_s: float) -> float:
    """`history` is (seconds, work), oldest first; the answer is never below `present`.

    A rise counts only as far as it stands out of the noise around the line (two standard errors of its slope), and to
    at most twice the present: what rose fastest falls fastest.
    """
    now = history[-1][0]
    if len(history) < _FEWEST or present <= 0:
        return present
    slope, error = _line([(time - now, value) for time, value in history])
    return min(present * _MOST_GROWTH, present + max(0.0, slope - 2 * error) * horizon_s)


def _mean(values: Sequence[float]) -> float:
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
