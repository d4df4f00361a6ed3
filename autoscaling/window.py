"""The greatest and the least value of the last so many seconds, in as many entries as it takes to know them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

_BUCKET_S, _DAY_S = 300.0, 86_400.0
_SAMPLE_S, _USUAL_S = 60.0, 3600.0
Entries = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Extreme:
    """Entries are (seconds, value), oldest first; those that a later one outdoes are gone."""

    entries: Entries = ()

    def push(self, time_s: float, value: float, span_s: float, outdoes: Callable[[float, float], bool]) -> Extreme:
        """With a value more, and without what is older than `span_s`."""
        kept = tuple(item for item in self.entries if item[0] >= time_s - span_s and not outdoes(value, item[1]))
        return Extreme((*kept, (time_s, value)))

    @property
    def value(self) -> float:
        """The extreme of the span."""
        return self.entries[0][1]


@dataclass(frozen=True)
class Peaks:
    """The greatest value of the last day, kept as one for each five minutes."""

    entries: Entries = ()

    def push(self, time_s: float, value: float) -> Peaks:
        """With a value more."""
        bucket = time_s // _BUCKET_S
        if self.entries and self.entries[-1][0] == bucket:
            *older, (_, last) = self.entries
            return self if value <= last else Peaks((*older, (bucket, value)))
        first = bucket - _DAY_S // _BUCKET_S
        return Peaks((*(item for item in self.entries if item[0] > first), (bucket, value)))

    @property
    def value(self) -> float:
        """The greatest; 0 before there was any."""
        return max((value for _, value in self.entries), default=0.0)


@dataclass(frozen=True)
class Usual:
    """What the value has been most of the last hour, by one sample a minute: the median, which no burst moves."""

    entries: Entries = ()

    def push(self, time_s: float, value: float) -> Usual:
        """With a value more, unless this minute has one."""
        if self.entries and time_s - self.entries[-1][0] < _SAMPLE_S:
            return self
        return Usual((*(item for item in self.entries if item[0] > time_s - _USUAL_S), (time_s, value)))

    @property
    def value(self) -> float:
        """The median."""
        return median(value for _, value in self.entries)

    def since(self, time_s: float) -> Entries:
        """The samples from then on."""
        return tuple(item for item in self.entries if item[0] >= time_s)
