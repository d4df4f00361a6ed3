"""How long a replica takes from being asked for until it is ready, as measured."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

_KEPT = 8


@dataclass(frozen=True)
class ColdStarts:
    """Who was asked for first is taken to be ready first."""

    target: int | None = None
    ready: int = 0
    asked_s: tuple[float, ...] = ()  # of each replica that starts
    took_s: tuple[float, ...] = ()  # the last few

    def observe(self, now_s: float, target: int, ready: int) -> ColdStarts:
        """With the counts of this moment; the first ones say nothing of how long it took."""
        if self.target is None:
            return ColdStarts(target, ready)
        asked = (*self.asked_s, *([now_s] * max(0, target - self.target)))
        came = min(len(asked), max(0, ready - self.ready))
        took = tuple(now_s - at for at in asked[:came])
        starting = asked[came:][: max(0, target - ready)]
        return ColdStarts(target, ready, starting, (*self.took_s, *took)[-_KEPT:])

    @property
    def estimate_s(self) -> float | None:
        """The median of the last few; None before the first."""
        return median(self.took_s) if self.took_s else None

    def remaining_s(self, now_s: float) -> float | None:
        """Until the next replica is ready; if none starts, should one be asked for now.

        The median of those that took longer than this one has so far. None when there was none.
        """
        waited_s = now_s - self.asked_s[0] if self.asked_s else 0.0
        longer = [took for took in self.took_s if took > waited_s]
        return median(longer) - waited_s if longer else None
