"""Makes tokens that a sequence already holds less likely, or more.

Which tokens those are is counted in tensors that follow the batch: a step adds its new tokens with one operation,
and a row is counted from the start only when its sequence joins. Shapes: N rows, R penalised rows, V vocabulary.
"""

import torch
from torch import Tensor

from model.runtime.sequence import Sequence

# A divisor near 0 would make scores infinite, and a distribution with two infinities is none.
_FINITE = 1e30


class Penalties:
    """Repetition, presence and frequency penalties of the running batch."""

    def __init__(self) -> None:
        self._sequences: list[Sequence] = []
        self._num_counted: list[int] = []
        self._counts_RV = torch.empty(0)
        self._is_prompted_RV = torch.empty(0)

    def apply_to(self, logits_NV: Tensor, sequences: list[Sequence]) -> None:
        """In place; nothing happens, at no cost, if no request has a penalty."""
        rows = [row for row, sequence in enumerate(sequences) if sequence.params.is_penalised]
        if not rows:
            self._sequences = []
            return
        penalised = [sequences[row] for row in rows]
        if penalised != self._sequences:
            self._follow(penalised, logits_NV)
        self._count()
        rows_R = torch.tensor(rows, device=logits_NV.device)
        logits_NV[rows_R] = self._penalised(logits_NV[rows_R])

    def _penalised(self, logits_RV: Tensor) -> Tensor:
        is_answered_RV = self._counts_RV > 0
        divisor_RV = torch.where(self._is_prompted_RV | is_answered_RV, self._repetition_R1, 1.0)
        logits_RV = torch.where(logits_RV > 0, logits_RV / divisor_RV, logits_RV * divisor_RV)
        logits_RV = logits_RV.clamp(-_FINITE, _FINITE)
        return logits_RV - self._frequency_R1 * self._counts_RV - self._presence_R1 * is_answered_RV

    def _follow(self, sequences: list[Sequence], logits_NV: Tensor) -> None:
        """Rows of sequences that stay are copied to their new place; the others begin with their prompt."""
        counts_RV = logits_NV.new_zeros(len(sequences), logits_NV.shape[1])
        is_prompted_RV = torch.zeros_like(counts_RV, dtype=torch.bool)
        num_counted = []
        for row, sequence in enumerate(sequences):
            if sequence in self._sequences:
                before = self._sequences.index(sequence)
                counts_RV[row], is_prompted_RV[row] = self._counts_RV[before], self._is_prompted_RV[before]
                num_counted.append(self._num_counted[before])
            else:
                is_prompted_RV[row, sequence.tokens[: sequence.prompt_length]] = True
                num_counted.append(sequence.prompt_length)
        self._sequences, self._num_counted = sequences, num_counted
        self._counts_RV, self._is_prompted_RV = counts_RV, is_prompted_RV
        params = [sequence.params for sequence in sequences]
        self._repetition_R1 = logits_NV.new_tensor([[param.repetition_penalty] for param in params])
        self._frequency_R1 = logits_NV.new_tensor([[param.frequency_penalty] for param in params])
        self._presence_R1 = logits_NV.new_tensor([[param.presence_penalty] for param in params])

    def _count(self) -> None:
        """Adds the tokens since the last count: after a step, one a sequence; after a preemption, a whole answer."""
        counted = zip(self._sequences, self._num_counted, strict=True)
        new = [(row, token) for row, (sequence, start) in enumerate(counted) for token in sequence.tokens[start:]]
        if new:
            rows_T, tokens_T = torch.tensor(new, device=self._counts_RV.device).unbind(1)
            self._counts_RV.index_put_((rows_T, tokens_T), self._counts_RV.new_ones(()), accumulate=True)
        self._num_counted = [len(sequence.tokens) for sequence in self._sequences]
