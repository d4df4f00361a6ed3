"""From a step's logits to a token for each sequence, in the order that SamplingParams describes."""

from typing import NamedTuple

from torch import Tensor

from model.constraint import ConstraintError
from model.runtime.bias import TokenBias
from model.runtime.draw import choose
from model.runtime.logprobs import LogprobReport
from model.runtime.output import TokenLogprobs
from model.runtime.penalties import Penalties
from model.runtime.sequence import Sequence
from model.runtime.token_mask import TokenMask
from model.tokenizer import Tokenizer


class Drawn(NamedTuple):
    """A sequence's next token, how likely it was if the request asked, or why there can be none."""

    token_id: int
    logprobs: TokenLogprobs | None = None
    error: ConstraintError | None = None


class Sampler:
    """Draws for every sequence of a batch at once; keeps between steps what would be costly to make anew."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bias = TokenBias()
        self._penalties = Penalties()
        self._mask = TokenMask(tokenizer)

    def sample(self, logits_NV: Tensor, sequences: list[Sequence]) -> list[Drawn]:
        """`logits_NV` is float32, row n belongs to `sequences[n]`, and it is overwritten."""
        report = LogprobReport(logits_NV, sequences, self._tokenizer)
        self._bias.add_to(logits_NV, sequences)
        self._penalties.apply_to(logits_NV, sequences)
        errors = self._mask.apply_to(logits_NV, sequences)
        tokens = choose(logits_NV, sequences)
        logprobs = report.rows(tokens)
        return [Drawn(token, logprobs.get(row), errors.get(row)) for row, token in enumerate(tokens)]
