"""A request's answer, read as it grows, and ended at the right token."""

from model.answer import AnswerReader, Pieces
from model.runtime.output import FinishReason, TokenOutput
from model.runtime.sequence import Sequence
from model.tokenizer import Tokenizer


class Answer:
    """Turns each new token of one sequence into an output and says when the answer is complete."""

    def __init__(self, sequence: Sequence, tokenizer: Tokenizer, eos_ids: frozenset[int], max_context: int) -> None:
        params = sequence.params
        self._request_id = sequence.request_id
        self._sequence = sequence
        start = sequence.prompt_length
        self._reader = AnswerReader(tokenizer, params.stop, sequence.tokens[:start])
        self._reader.push(sequence.tokens[start:])  # whoever began the answer has shown what these let be shown
        self._eos_ids = frozenset() if params.ignore_eos else eos_ids | self._reader.end_ids
        self._num_left = min(params.max_tokens, max_context - start) - sequence.num_generated

    def accept(self, token_id: int) -> TokenOutput:
        """The output that one more token makes."""
        self._num_left -= 1
        if token_id in self._eos_ids:
            return self._last((token_id,), (), "stop")
        pieces = self._reader.push((token_id,))
        if self._num_left == 0 or self._reader.stopped_by is not None:
            return self._last((token_id,), pieces, "length")
        return TokenOutput(self._request_id, (token_id,), pieces, cached_tokens=self._cached_tokens)

    def abort(self) -> TokenOutput:
        """The last output of a request that nobody wants any more."""
        return self._last((), (), "abort")

    def fail(self, error: Exception) -> TokenOutput:
        """The last output of a request that could not be computed."""
        return self._last((), (), "error", error)

    @property
    def _cached_tokens(self) -> int:
        return self._sequence.num_reused or 0

    def _last(
        self,
        token_ids: tuple[int, ...],
        pieces: Pieces,
        reason: FinishReason,
        error: Exception | None = None,
    ) -> TokenOutput:
        if self._reader.stopped_by is None:
            pieces += self._reader.finish()
        stop_text = self._reader.stopped_by
        if stop_text is not None and reason == "length":  # what was held back can complete a stop string too
            reason = "stop"
        return TokenOutput(
            self._request_id,
            token_ids,
            pieces,
            reason,
            stop_text,
            error,
            cached_tokens=self._cached_tokens,
            thought_tokens=self._reader.thought_tokens,
        )
