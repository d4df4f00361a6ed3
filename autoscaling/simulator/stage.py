"""A stage of work where all that are inside advance alike, and each kind leaves after so many tokens."""

from __future__ import annotations

import numpy as np

from autoscaling.simulator.trace import Floats


class Stage:
    """Exact for any speed: who entered when the clock read c leaves when it reads c + tokens. K kinds, T steps."""

    def __init__(self, tokens_K: Floats, steps: int) -> None:
        self._tokens_K = tokens_K
        self._kinds = np.arange(len(tokens_K))
        self.clock = 0.0
        self.clock_T = np.zeros(steps)
        # One row more than steps: nobody had entered before the first.
        self._entered_TK = np.zeros((steps + 1, len(tokens_K)))
        self._left_K = np.zeros(len(tokens_K))
        self.inside_K = np.zeros(len(tokens_K))
        self.total = 0.0

    def advance(self, step: int, tokens: float) -> Floats:
        """The clock goes on by `tokens`; who leaves, by kind."""
        self.clock += tokens
        self.clock_T[step] = self.clock
        rows_K = np.searchsorted(self.clock_T[:step], self.clock - self._tokens_K, side="right")
        left_K = self._entered_TK[rows_K, self._kinds]
        leaving_K = left_K - self._left_K
        self._left_K = left_K
        self.inside_K = self._entered_TK[step] - left_K
        return leaving_K

    def enter(self, step: int, counts_K: Floats) -> None:
        """Once a step, after `advance`."""
        self._entered_TK[step + 1] = self._entered_TK[step] + counts_K
        self.inside_K = self.inside_K + counts_K
        self.total = float(self.inside_K.sum())
