"""A deterministic, weightless engine that repeats its prompt: for tests and benchmarks of all but the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from itertools import chain, repeat

from cluster.engines.base import Engine, EngineLoad, EngineOutput, EngineRequest, FinishReason
from cluster.errors import Overloaded
from model.tokenizer import Tokenizer


class EchoEngine(Engine):
    """Answers with the prompt's own text tokens, control tokens left out, up to max_tokens."""

    def __init__(self, tokenizer: Tokenizer, *, delay_s: float = 0.0, max_running: int = 1024) -> None:
        self._tokenizer = tokenizer
        self._delay_s = delay_s
        self._max_running = max_running
        self._running = 0

    async def start(self) -> None:
        """Has nothing to load."""

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineOutput, None]:
        """Yields one token at a time, giving way to other requests between tokens."""
        if self._running >= self._max_running:
            raise Overloaded(f"the echo engine runs {self._max_running} requests already")
        self._running += 1
        try:
            for text, finish_reason in self._answer(request):
                await asyncio.sleep(self._delay_s)
                yield EngineOutput(text, 1, finish_reason)
        finally:
            self._running -= 1

    def _answer(self, request: EngineRequest) -> Iterator[tuple[str, FinishReason | None]]:
        """The answer's texts, the last one with its finish reason."""
        words, max_tokens = self._words(request.prompt_token_ids), request.sampling.max_tokens
        length = min(max_tokens, len(words))
        reason = FinishReason.LENGTH if max_tokens < len(words) else FinishReason.STOP
        return zip(words[:length], chain(repeat(None, length - 1), [reason]), strict=True)

    def _words(self, token_ids: list[int]) -> list[str]:
        special_ids = self._tokenizer.special_ids
        texts = [self._tokenizer.decode([token]) for token in token_ids if token not in special_ids]
        return texts or [""]

    def load(self) -> EngineLoad:
        return EngineLoad(running=self._running)

    async def check_health(self) -> None:
        """Never fails."""

    async def stop(self) -> None:
        """Has nothing to free."""
