"""How fast a busy variant takes the next request."""

from __future__ import annotations

from math import exp

_MEMORY_S = 30.0
_SMOOTHING = 0.1
# What refuses a caller must neither hurry it nor send it away for good.
_SHORTEST_RETRY_S, _LONGEST_RETRY_S, _UNKNOWN_RETRY_S = 0.1, 60.0, 1.0


class DrainRate:
    """Measures ends of requests a second, on a clock that runs only while some wait.

    Until enough have ended so, what single requests took stands in: it weighs as much as one measured end. Seconds are
    the caller's clock's.
    """

    def __init__(self) -> None:
        self._ends = 0.0
        self._seconds = 0.0
        self._at: float | None = None
        self._request_s: float | None = None
        self._first_token_s: float | None = None
        self._next_retry_at = 0.0

    def tick(self, now: float, *, is_busy: bool) -> None:
        """Must be called before whatever changes: `is_busy` says whether some waited since the last call."""
        if is_busy and self._at is not None:
            kept = exp(-(now - self._at) / _MEMORY_S)
            self._seconds = self._seconds * kept + _MEMORY_S * (1 - kept)
            self._ends *= kept
        self._at = now

    def ended(self, request_s: float, *, is_busy: bool) -> None:
        """A request ended that ran so long, and some waited."""
        self._ends += is_busy
        self._request_s = _smoothed(self._request_s, request_s)

    def began(self, first_token_s: float) -> None:
        """A request's first tokens came so long after its turn."""
        fastest = self._first_token_s
        # Follows at once what is faster, and slowly what is slower.
        self._first_token_s = first_token_s if fastest is None else min(first_token_s, 1.05 * fastest)

    @property
    def request_s(self) -> float | None:
        """Mean seconds of a request. None before one has ended."""
        return self._request_s

    @property
    def first_token_s(self) -> float:
        """About the least time from a turn to the first token, as measured of late; 0 if unknown."""
        return self._first_token_s or 0.0

    def per_s(self, slots: int) -> float | None:
        """Turns a second, if so many requests run at once. None before one has ended."""
        if self._request_s is None:
            return None
        return (self._ends + 1) / (self._seconds + max(self._request_s, 1e-6) / slots)

    def retry_after_s(self, now: float, slots: int) -> float:
        """When a refused caller should come back. Each gets a later place, one for each turn, so that they do not all
        come back at once."""
        rate = self.per_s(slots)
        if rate is None:
            return _UNKNOWN_RETRY_S
        place = min(max(self._next_retry_at, now) + 1 / rate, now + _LONGEST_RETRY_S)
        self._next_retry_at = place
        return clamped_retry_s(place - now)


def clamped_retry_s(seconds: float) -> float:
    """Within what a caller can be told."""
    return min(max(seconds, _SHORTEST_RETRY_S), _LONGEST_RETRY_S)


def _smoothed(mean: float | None, value: float) -> float:
    return value if mean is None else mean + _SMOOTHING * (value - mean)
