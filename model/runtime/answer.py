"""A request's answer as text: detokenised as it grows, cut at stop strings, ended at the right token."""

from model.runtime.output import FinishReason, TokenOutput
from model.runtime.sequence import Sequence
from model.runtime.stop import StopMatcher
from model.tokenizer import StreamDecoder, Tokenizer


class Answer:
    """Turns each new token of one sequence into an output and says when the answer is complete."""

    def __init__(self, sequence: Sequence, tokenizer: Tokenizer, eos_ids: frozenset[int], max_context: int) -> None:
        params = sequence.params
        self._request_id = sequence.request_id
        self._eos_ids = frozenset() if params.ignore_eos else eos_ids
        self._num_left = min(params.max_tokens, max_context - sequence.prompt_length)
        self._decoder = StreamDecoder(tokenizer)
        self._stop = StopMatcher(params.stop)

    def accept(self, token_id: int) -> TokenOutput:
        """The output that one more token makes."""
        self._num_left -= 1
        text = self._stop.push(self._decoder.push([token_id]))
        if self._stop.matched is not None:
            return TokenOutput(self._request_id, (token_id,), text, "stop", self._stop.matched)
        if token_id in self._eos_ids:
            return self._last((token_id,), text, "stop")
        if self._num_left == 0:
            return self._last((token_id,), text, "length")
        return TokenOutput(self._request_id, (token_id,), text)

    def abort(self) -> TokenOutput:
        """The last output of a request that nobody wants any more."""
        return self._last((), "", "abort")

    def fail(self, error: Exception) -> TokenOutput:
        """The last output of a request that could not be computed."""
        return self._last((), "", "error", error)

    def _last(
        self, token_ids: tuple[int, ...], text: str, reason: FinishReason, error: Exception | None = None
    ) -> TokenOutput:
        text += self._stop.push(self._decoder.finish())
        if self._stop.matched is None:
            text += self._stop.finish()
        elif reason == "length":  # the replacement of a half character completed a stop string
            reason = "stop"
        return TokenOutput(self._request_id, token_ids, text, reason, self._stop.matched, error)
