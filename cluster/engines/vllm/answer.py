"""vLLM's token ids as our engine's outputs: pieces, stop strings and ends are read by the code that native uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cluster.engines.base import EngineOutput, EngineRequest
from cluster.engines.token_outputs import engine_output, stopped
from cluster.errors import ClusterError
from model.runtime.answer import Answer
from model.runtime.output import TokenLogprob, TokenLogprobs
from model.runtime.sequence import Sequence
from model.tokenizer import Tokenizer


class VllmAnswer:
    """Reads the outputs of one request."""

    def __init__(self, request: EngineRequest, tokenizer: Tokenizer, eos_ids: frozenset[int], max_context: int) -> None:
        self._request = request
        self._tokenizer = tokenizer
        answered = request.answered_token_ids
        self._sequence = Sequence(request.request_id, request.prompt_token_ids, request.sampling, answered=answered)
        self._answer = Answer(self._sequence, tokenizer, eos_ids, max_context)
        self.is_finished = False

    def outputs(self, output: Any) -> Iterator[EngineOutput]:
        """One for each new token of vLLM's RequestOutput, until the answer ends: it may end before vLLM knows."""
        self._sequence.num_reused = min(output.num_cached_tokens or 0, self._sequence.prompt_length)
        completion = output.outputs[0]
        for index, token_id in enumerate(completion.token_ids):
            accepted = self._answer.accept(token_id)
            if completion.logprobs is not None:
                accepted = replace(accepted, logprobs=(self._logprobs(token_id, completion.logprobs[index]),))
            self.is_finished = accepted.finish_reason is not None
            yield engine_output(accepted, self._request)
            if self.is_finished:
                return
        if output.finished:
            self._ended_early(completion.finish_reason)

    def _ended_early(self, reason: str | None) -> None:
        if reason == "abort":
            raise stopped()
        raise ClusterError(f"vLLM ended the answer before its end: {reason}")

    def _logprobs(self, token_id: int, logprobs: dict[int, Any]) -> TokenLogprobs:
        """vLLM's has the token itself beside as many likeliest ones as were asked for."""
        count = self._request.sampling.logprobs or 0
        ranked = sorted(logprobs, key=lambda other: int(logprobs[other].rank))[:count]
        return TokenLogprobs(self._entry(token_id, logprobs), tuple(self._entry(other, logprobs) for other in ranked))

    def _entry(self, token_id: int, logprobs: dict[int, Any]) -> TokenLogprob:
        return TokenLogprob(token_id, self._tokenizer.token_bytes(token_id), float(logprobs[token_id].logprob))
