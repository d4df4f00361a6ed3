"""Response formats as constraints: compiled off the event loop and the engine's thread, one at a time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from cluster.engines.base import EngineRequest
from cluster.errors import InvalidRequest
from model.constraint import Constraint, ConstraintCompiler, ConstraintError
from model.constraint.channel import Channel
from model.constraint.sound import SoundGrammars
from model.runtime.response_format import ResponseFormat
from model.tokenizer import Tokenizer


class ConstraintSource:
    """Makes the constraints of requests for one checkpoint."""

    def __init__(self, compiler: ConstraintCompiler) -> None:
        self._compiler = compiler
        self._executor = ThreadPoolExecutor(1, "constraint-compiler")

    async def constraint(self, request: EngineRequest) -> Constraint | None:
        """None without a response format. Raises InvalidRequest for one that cannot be used."""
        wanted = request.sampling.response_format
        if wanted is None:
            return None
        loop, prompt = asyncio.get_running_loop(), request.prompt_token_ids
        try:
            return await loop.run_in_executor(self._executor, self._compiler.constraint, wanted, prompt)
        except ConstraintError as error:
            raise refusal(wanted, error) from error

    def close(self) -> None:
        """Ends the thread once what it compiles now is done."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class GrammarSource:
    """The same for an engine that takes grammars as text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._grammars = SoundGrammars()
        self._tokenizer = tokenizer
        self._executor = ThreadPoolExecutor(1, "constraint-compiler")

    async def grammar(self, request: EngineRequest) -> str | None:
        """In Lark, thoughts included; None without a response format. Raises InvalidRequest."""
        wanted = request.sampling.response_format
        if wanted is None:
            return None
        try:
            grammar = await asyncio.get_running_loop().run_in_executor(self._executor, self._grammars.of, wanted)
        except ConstraintError as error:
            raise refusal(wanted, error) from error
        return Channel.after(request.prompt_token_ids, self._tokenizer).lark(grammar)

    def close(self) -> None:
        """Ends the thread once what it compiles now is done."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def refusal(wanted: ResponseFormat | None, error: ConstraintError) -> InvalidRequest:
    """A constraint's error as its caller sees it."""
    kind = wanted.kind if wanted else ""
    return InvalidRequest.of(f"generation_config.response_format.{kind}", str(error))
