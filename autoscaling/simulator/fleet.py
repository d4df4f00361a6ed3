"""The replicas of a variant over time: some start, some serve, some only finish what they have."""

from __future__ import annotations

from collections import deque


class Fleet:
    """Counts of replicas. `progress` is the tokens that an answer begun at time 0 would have by now."""

    def __init__(self, replicas: int) -> None:
        self.target = replicas
        self.ready = replicas
        self._starting: deque[tuple[float, int]] = deque()  # (ready at, how many)
        self._draining: deque[tuple[float, int]] = deque()  # (gone at this progress, how many)

    @property
    def starting(self) -> int:
        """Asked for and not ready."""
        return sum(count for _, count in self._starting)

    @property
    def draining(self) -> int:
        """Not given anything new any more."""
        return sum(count for _, count in self._draining)

    def scale(self, target: int, now_s: float, cold_start_s: float, gone_at: float) -> None:
        """As Ray Serve does it: those that have not started yet are stopped first."""
        change, self.target = target - self.target, target
        if change > 0:
            self._starting.append((now_s + cold_start_s, change))
        else:
            self._stop(-change, gone_at)

    def _stop(self, count: int, gone_at: float) -> None:
        while count and self._starting:
            ready_at, starting = self._starting.pop()
            if starting > count:
                self._starting.append((ready_at, starting - count))
            count -= min(count, starting)
        if count:
            self.ready -= count
            self._draining.append((gone_at, count))

    def advance(self, now_s: float, progress: float) -> None:
        """Starts are over, and drained replicas gone, when their time has come."""
        while self._starting and self._starting[0][0] <= now_s:
            self.ready += self._starting.popleft()[1]
        while self._draining and self._draining[0][0] <= progress:
            self._draining.popleft()
