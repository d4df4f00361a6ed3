"""Reports how likely the model found the tokens, whatever sampling then made of it.

Shapes: N rows, R rows that report, V vocabulary, K likeliest tokens of the row that wants most.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from model.runtime.output import TokenLogprob, TokenLogprobs
from model.runtime.sequence import Sequence
from model.tokenizer import Tokenizer


class LogprobReport:
    """The log probabilities of a step for the requests that asked; made before the scores are changed in place."""

    def __init__(self, logits_NV: Tensor, sequences: list[Sequence], tokenizer: Tokenizer) -> None:
        wanted = {row: sequence.params.logprobs for row, sequence in enumerate(sequences)}
        self._counts = {row: count for row, count in wanted.items() if count is not None}
        self._tokenizer = tokenizer
        if self._counts:
            self._logprobs_RV = logits_NV[list(self._counts)].log_softmax(-1)

    def rows(self, tokens: list[int]) -> dict[int, TokenLogprobs]:
        """By row, once the row's token is known; rows that did not ask are left out."""
        if not self._counts:
            return {}
        chosen_R1 = torch.tensor([[tokens[row]] for row in self._counts], device=self._logprobs_RV.device)
        chosen = self._logprobs_RV.gather(1, chosen_R1).squeeze(1).tolist()
        reported = zip(self._counts.items(), chosen, self._best(), strict=True)
        return {row: TokenLogprobs(self._entry(tokens[row], own), top[:count]) for (row, count), own, top in reported}

    def _best(self) -> Iterator[tuple[TokenLogprob, ...]]:
        most = min(max(self._counts.values()), self._logprobs_RV.shape[1])
        best_RK = self._logprobs_RV.topk(most, dim=-1)
        for ids, values in zip(best_RK.indices.tolist(), best_RK.values.tolist(), strict=True):
            yield tuple(map(self._entry, ids, values))

    def _entry(self, token_id: int, logprob: float) -> TokenLogprob:
        return TokenLogprob(token_id, self._tokenizer.token_bytes(token_id), logprob)
