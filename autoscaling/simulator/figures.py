"""What one replica of a variant can do: the few figures of its engine that queues depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EngineFigures:
    """A step of `b` sequences with `p` prompt tokens takes step_s + b * sequence_s + p / prefill_tokens_per_s."""

    step_s: float = 0.018  # reading the weights, launching kernels
    sequence_s: float = 0.0004  # more for each sequence of the batch
    prefill_tokens_per_s: float = 12_000.0
    chunk_tokens: int = 2048  # most prompt tokens of a step
    max_sequences: int = 64
    kv_tokens: int = 400_000
    cold_start_s: float = 60.0
    gpus: float = 1.0

    def decode_step_s(self, sequences: float) -> float:
        """A step without prompts."""
        return self.step_s + self.sequence_s * sequences

    def mixed_step_s(self, sequences: float) -> float:
        """A step with a full chunk of prompts."""
        return self.decode_step_s(sequences) + self.chunk_tokens / self.prefill_tokens_per_s

    def sequences_at(self, itl_s: float) -> float:
        """The largest batch whose answers get a token every `itl_s`, at least 1."""
        return float(min(self.max_sequences, max(1.0, (itl_s - self.step_s) / self.sequence_s)))


def calibrate(steps: Sequence[tuple[float, float, float]], **others: float) -> EngineFigures:
    """From measured steps (sequences, prompt tokens, seconds): least squares. `others` are the remaining fields.

    Raises ValueError when the steps do not tell the three figures apart, or say that work takes no time.
    """
    rows = np.asarray(steps, dtype=float)
    if rows.ndim != 2 or len(rows) < 3:
        raise ValueError(f"calibration needs 3 measured steps or more, and got {len(steps)}")
    terms = np.column_stack([np.ones(len(rows)), rows[:, 0], rows[:, 1]])
    (step_s, sequence_s, token_s), _, rank, _ = np.linalg.lstsq(terms, rows[:, 2], rcond=None)
    if rank < 3:
        raise ValueError("calibration needs steps that differ in sequences and, apart from that, in prompt tokens")
    if min(step_s, sequence_s, token_s) <= 0:
        raise ValueError(
            f"the measured steps give {step_s:.3g} s a step, {sequence_s:.3g} s a sequence and {token_s:.3g} s a "
            "prompt token; all must be above 0: measure longer, or more batch sizes"
        )
    return EngineFigures(step_s, sequence_s, 1 / token_s, **others)  # type: ignore[arg-type]
