"""Adds what requests want added to the scores of single tokens.

Shapes: N rows, V vocabulary, B biased tokens of all rows together.
"""

import torch
from torch import Tensor

from model.runtime.sequence import Sequence


class TokenBias:
    """The biases of a batch, kept as tensors until the batch changes."""

    def __init__(self) -> None:
        self._biased: list[tuple[int, Sequence]] = []

    def add_to(self, logits_NV: Tensor, sequences: list[Sequence]) -> None:
        """In place; nothing happens, at no cost, if no request has a bias."""
        biased = [(row, sequence) for row, sequence in enumerate(sequences) if sequence.params.logit_bias]
        if not biased:
            return
        if biased != self._biased:
            self._gather(biased, logits_NV)
        logits_NV.index_put_((self._rows_B, self._tokens_B), self._values_B, accumulate=True)

    def _gather(self, biased: list[tuple[int, Sequence]], logits_NV: Tensor) -> None:
        entries = [(row, *entry) for row, sequence in biased for entry in sequence.params.logit_bias.items()]
        rows, tokens, values = zip(*entries, strict=True)
        self._biased = biased
        self._rows_B = torch.tensor(rows, device=logits_NV.device)
        self._tokens_B = torch.tensor(tokens, device=logits_NV.device)
        self._values_B = logits_NV.new_tensor(values)
