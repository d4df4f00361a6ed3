"""A deterministic, weightless engine that repeats its prompt: for tests and benchmarks of all but the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from itertools import chain, islice, repeat

from cluster.engines.base import Engine, EngineLoad, EngineOutput, EngineRequest, FinishReason
from cluster.engines.token_outputs import stopped
from cluster.errors import NotSupported, Overloaded
from model.answer import Text
from model.answer.stop import StopMatcher
from model.runtime.sampling import SamplingParams
from model.tokenizer import StreamDecoder, Tokenizer

Answer = Iterator[tuple[str, FinishReason | None]]


class EchoEngine(Engine):
    """Answers with the prompt's own text tokens, control tokens left out, up to max_tokens."""

    def __init__(self, tokenizer: Tokenizer, *, delay_s: float = 0.0, max_running: int = 1024) -> None:
        self._tokenizer = tokenizer
        self._delay_s = delay_s
        self._max_running = max_running
        self._running = 0
        self._is_stopped = False

    async def start(self) -> None:
        """Has nothing to load."""

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineOutput, None]:
        """Yields one token at a time, giving way to other requests between tokens. Raises NotSupported for what only
        a model can give."""
        _refuse(request.sampling)
        if self._running >= self._max_running:
            raise Overloaded(f"the echo engine runs {self._max_running} requests already")
        self._running += 1
        try:
            for output in islice(self._outputs(request), len(request.answered_token_ids), None):
                await asyncio.sleep(self._delay_s)
                if self._is_stopped:
                    raise stopped()
                yield output
        finally:
            self._running -= 1

    def _outputs(self, request: EngineRequest) -> Iterator[EngineOutput]:
        tokens = [token for token in request.prompt_token_ids if token not in self._tokenizer.special_ids]
        answer = self._answer(tokens, request.sampling)
        for number, (text, finish_reason) in enumerate(answer):
            token_ids = tuple(tokens[number : number + 1])
            yield EngineOutput((Text(text),) if text else (), 1, finish_reason, token_ids=token_ids)

    def _answer(self, tokens: list[int], sampling: SamplingParams) -> Answer:
        """The answer's texts, the last one with its finish reason."""
        max_tokens = sampling.max_tokens
        words = self._words(tokens[:max_tokens])
        reason = FinishReason.LENGTH if max_tokens < len(tokens) else FinishReason.STOP
        answer = zip(words, chain(repeat(None, len(words) - 1), [reason]), strict=True)
        return _until_stop(answer, sampling.stop) if sampling.stop else answer

    def _words(self, tokens: list[int]) -> list[str]:
        """The text that each token completes; at least one."""
        decoder = StreamDecoder(self._tokenizer)
        words = [decoder.push([token]) for token in tokens] or [""]
        words[-1] += decoder.finish()
        return words

    def load(self) -> EngineLoad:
        return EngineLoad(running=self._running)

    async def check_health(self) -> None:
        """Never fails."""

    async def stop(self) -> None:
        """Ends all requests."""
        self._is_stopped = True


def _refuse(sampling: SamplingParams) -> None:
    for name in ("logprobs", "response_format"):
        if getattr(sampling, name) is not None:
            raise NotSupported(f"generation_config.{name}: the echo engine has no model to ask")


def _until_stop(answer: Answer, stops: tuple[str, ...]) -> Answer:
    """The same answer, ended before the first of `stops`."""
    matcher = StopMatcher(stops)
    for text, reason in answer:
        shown = matcher.push(text)
        if matcher.matched is not None:
            yield shown, FinishReason.STOP
            return
        yield shown + (matcher.finish() if reason else ""), reason
