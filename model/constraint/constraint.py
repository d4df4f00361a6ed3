"""One answer's way through its grammar: thoughts first, if any, then the text that the grammar rules."""

from collections.abc import Collection, Sequence

from llguidance import LLMatcher

from model.constraint.errors import ConstraintError


class Constraint:
    """Follows the answer's tokens and says what may come next.

    Where the model may think, its first token may open a channel instead of beginning the text. In the channel every
    text is allowed, and the only control token is the one that closes it.
    """

    def __init__(
        self, matcher: LLMatcher, eos_ids: Collection[int], *, begin: int | None, end: int | None, is_thinking: bool
    ) -> None:
        """`begin` and `end` are the channel's tokens, `begin` None where the model may open none."""
        self.matcher = matcher
        self.is_thinking = is_thinking
        self._eos_ids = eos_ids
        self._begin = begin
        self._end = end
        self._num_followed = 0

    @property
    def also_allowed(self) -> int | None:
        """The token that may come beside those of the grammar."""
        return None if self.is_thinking else self._begin

    @property
    def error(self) -> ConstraintError | None:
        """Why the answer cannot go on."""
        return ConstraintError.of_library(self.matcher.get_error()) if self.matcher.is_error() else None

    def follow(self, tokens: Sequence[int], start: int) -> None:
        """Takes what is new of the answer, which is all of `tokens` from `start` on."""
        for token_id in tokens[start + self._num_followed :]:
            self._step(token_id)
        self._num_followed = len(tokens) - start

    def _step(self, token_id: int) -> None:
        if self.is_thinking:
            self.is_thinking = token_id != self._end
        elif token_id == self._begin:
            self.is_thinking = True
        elif token_id not in self._eos_ids:
            self.matcher.consume_token(token_id)
        self._begin = None
