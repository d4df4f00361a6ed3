"""Makes tokens that a sequence already holds less likely, or more.

Only their scores are touched. How often an answer holds a token is counted in a tensor that follows the batch: a step
adds its new tokens with one operation, and a row is counted from the start only when its sequence joins.
Shapes: N rows, R penalised rows, V vocabulary, L tokens of the longest sequence; shorter ones repeat their first.
"""

from typing import Any

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
        self._tokens_RL = torch.empty(0, dtype=torch.int64)

    def apply_to(self, logits_NV: Tensor, sequences: list[Sequence]) -> None:
        """In place; nothing happens, at no cost, if no request has a penalty."""
        rows = [row for row, sequence in enumerate(sequences) if sequence.params.is_penalised]
        if not rows:
            self._sequences = []
            return
        penalised = [sequences[row] for row in rows]
        has_changed = penalised != self._sequences
        if has_changed:
            self._follow(penalised, logits_NV)
        new = self._count()
        if has_changed or [row for row, _ in new] != list(range(len(rows))):
            self._tokens_RL = self._padded()
        else:
            self._tokens_RL = torch.cat([self._tokens_RL, self._tensor([[token] for _, token in new])], dim=1)
        rows_R1 = torch.tensor(rows, device=logits_NV.device)[:, None]
        # A token that comes twice is written twice, with the same score.
        logits_NV[rows_R1, self._tokens_RL] = self._penalised(logits_NV[rows_R1, self._tokens_RL])

    def _penalised(self, scores_RL: Tensor) -> Tensor:
        counts_RL = self._counts_RV.gather(1, self._tokens_RL)
        repetition_R1 = self._repetition_R1
        scores_RL = torch.where(scores_RL > 0, scores_RL / repetition_R1, scores_RL * repetition_R1)
        scores_RL = scores_RL.clamp(-_FINITE, _FINITE)
        return scores_RL - self._frequency_R1 * counts_RL - self._presence_R1 * (counts_RL > 0)

    def _follow(self, sequences: list[Sequence], logits_NV: Tensor) -> None:
        """Rows of sequences that stay are copied to their new place; the others begin with their prompt."""
        counts_RV = logits_NV.new_zeros(len(sequences), logits_NV.shape[1])
        num_counted = [sequence.prompt_length for sequence in sequences]
        for row, sequence in enumerate(sequences):
            if sequence in self._sequences:
                before = self._sequences.index(sequence)
                counts_RV[row], num_counted[row] = self._counts_RV[before], self._num_counted[before]
        self._sequences, self._num_counted, self._counts_RV = sequences, num_counted, counts_RV
        params = [sequence.params for sequence in sequences]
        self._repetition_R1 = logits_NV.new_tensor([[param.repetition_penalty] for param in params])
        self._frequency_R1 = logits_NV.new_tensor([[param.frequency_penalty] for param in params])
        self._presence_R1 = logits_NV.new_tensor([[param.presence_penalty] for param in params])

    def _count(self) -> list[tuple[int, int]]:
        """Adds the tokens since the last count, and returns them with their rows: after a step, one for each sequence;
        after a preemption, a whole answer."""
        counted = zip(self._sequences, self._num_counted, strict=True)
        new = [(row, token) for row, (sequence, start) in enumerate(counted) for token in sequence.tokens[start:]]
        if new:
            rows_T, tokens_T = self._tensor(new).unbind(1)
            self._counts_RV.index_put_((rows_T, tokens_T), self._counts_RV.new_ones(()), accumulate=True)
        self._num_counted = [len(sequence.tokens) for sequence in self._sequences]
        return new

    def _padded(self) -> Tensor:
        longest = max(self._num_counted)
        return self._tensor([item.tokens + item.tokens[:1] * (longest - len(item.tokens)) for item in self._sequences])

    def _tensor(self, numbers: Any) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int64, device=self._counts_RV.device)
