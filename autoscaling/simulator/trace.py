"""Requests over time, counted: so many of each kind in each step. T steps, K kinds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trace:
    """A kind is a prompt's and an answer's length. The simulator's cost depends on T and K, not on the counts."""

    name: str
    step_s: float
    prompt_tokens_K: Floats
    output_tokens_K: Floats
    counts_TK: Floats

    @property
    def steps(self) -> int:
        """T."""
        return len(self.counts_TK)

    @property
    def requests(self) -> float:
        """All of them."""
        return float(self.counts_TK.sum())

    def scaled(self, factor: float) -> Trace:
        """The same with so many times the requests in each step."""
        return Trace(self.name, self.step_s, self.prompt_tokens_K, self.output_tokens_K, self.counts_TK * factor)

    def first(self, seconds: float) -> Trace:
        """Its beginning."""
        steps = max(1, min(self.steps, round(seconds / self.step_s)))
        return Trace(self.name, self.step_s, self.prompt_tokens_K, self.output_tokens_K, self.counts_TK[:steps])
