"""Response formats as constraints: compiled off the event loop and the engine's thread, one at a time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from cluster.engines.base import EngineRequest
from cluster.errors import InvalidRequest
from model.constraint import Constraint, ConstraintCompiler, ConstraintError
from model.runtime.response_format import ResponseFormat


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


def refusal(wanted: ResponseFormat | None, error: ConstraintError) -> InvalidRequest:
    """A constraint's error as its caller sees it."""
    kind = wanted.kind if wanted else ""
    return InvalidRequest.of(f"generation_config.response_format.{kind}", str(error))
