"""One measured figure and its target."""

from __future__ import annotations

import operator
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A ratio or a size, with what it must reach; `comparison` is `>=` or `<=`."""

    name: str
    value: float
    comparison: str
    target: float

    @property
    def is_met(self) -> bool:
        """Whether the value reaches the target."""
        compare = {">=": operator.ge, "<=": operator.le}[self.comparison]
        return bool(compare(self.value, self.target))

    def __str__(self) -> str:
        return f"BENCH {self.name} {self.value:.2f} {self.comparison}{self.target:g}"
