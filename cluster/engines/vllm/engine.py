"""vLLM's asynchronous engine in the replica's process: its scheduler and workers are processes of their own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from cluster.config import VariantConfig
from cluster.engines.base import Engine, EngineLoad, EngineOutput, EngineRequest
from cluster.engines.constraints import GrammarSource
from cluster.engines.token_outputs import stopped
from cluster.engines.vllm.adapter import adapter_request
from cluster.engines.vllm.answer import VllmAnswer
from cluster.engines.vllm.continuation import remaining_sampling
from cluster.engines.vllm.errors import translated
from cluster.engines.vllm.limits import check_media
from cluster.engines.vllm.load import LoadReport
from cluster.engines.vllm.media import FeatureSource
from cluster.engines.vllm.prompt import vllm_prompt
from cluster.engines.vllm.sampling import vllm_sampling
from cluster.engines.vllm.start import start_vllm
from cluster.errors import ClusterError, Overloaded, Unavailable
from model.answer import AnswerReader
from model.config import ModelConfig
from model.tokenizer import Tokenizer

# Below what Serve gives a health check; longer than a step.
_ANSWER_S = 20.0


class VllmEngine(Engine):
    """Runs a checkpoint with vLLM."""

    def __init__(self, checkpoint: Path, config: VariantConfig, context_tokens: int) -> None:
        self._checkpoint = checkpoint
        self._config = config
        self._context_tokens = context_tokens
        self._tokenizer = Tokenizer.from_checkpoint(checkpoint)
        self._model = ModelConfig.from_checkpoint(checkpoint)
        ends = frozenset(self._model.eos_token_ids) | AnswerReader(self._tokenizer).end_ids
        self._eos_ids = frozenset(token_id for token_id in ends if token_id < self._model.text.vocab_size)
        self._grammars = GrammarSource(self._tokenizer)
        self._media = FeatureSource(checkpoint)
        self._report = LoadReport()
        self._vllm: Any = None
        self._is_stopped = False
        self._open: dict[str, Any] = {}  # what was admitted; its queue of outputs, None until vLLM has it
        self._begun: set[str] = set()
        self._numbers = itertools.count()

    async def start(self) -> None:
        """Starts vLLM's processes off the event loop, so that health checks go on. Raises ConfigError."""
        self._vllm = await asyncio.to_thread(
            start_vllm, self._checkpoint, self._config, self._context_tokens, self._report
        )

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineOutput, None]:
        """Streams what vLLM makes; closing it aborts the request, also while it waits."""
        self._started()
        key = self._admit(request)
        eos_ids = frozenset[int]() if request.sampling.ignore_eos else self._eos_ids
        answer = VllmAnswer(request, self._tokenizer, eos_ids, self._context_tokens)
        queue: Any = None
        try:
            queue = await self._submit(key, request, eos_ids)
            while not answer.is_finished:
                for output in answer.outputs(await queue.get()):
                    self._begun.add(key)
                    yield output
        except Exception as error:
            raise translated(error) from error
        finally:
            del self._open[key]
            self._begun.discard(key)
            await self._forget(queue)

    def load(self) -> EngineLoad:
        """What vLLM said after its last step, as far as it can be true still."""
        self._started()
        waiting = min(self._report.waiting, len(self._open) - len(self._begun))
        capacity = self._vllm.vllm_config.cache_config.kv_cache_size_tokens or 0
        kv_tokens = round(self._report.kv_share * capacity) if self._open else 0
        details = {"scheduled": self._report.scheduled, "kv_share": self._report.kv_share}
        return EngineLoad(len(self._open) - waiting, waiting, kv_tokens, capacity, details)

    async def check_health(self) -> None:
        """Raises when a process of vLLM has died, or answers nothing any more, not even between two steps."""
        vllm = self._started()
        if vllm.errored:
            raise ClusterError("a process of vLLM's engine has died")
        try:
            async with asyncio.timeout(_ANSWER_S):
                await vllm.engine_core.get_supported_tasks_async()
        except TimeoutError as error:
            raise ClusterError(f"vLLM's engine did not answer within {_ANSWER_S:g} s") from error

    async def stop(self) -> None:
        self._is_stopped = True
        self._media.close()
        self._grammars.close()
        for queue in self._open.values():
            if queue is not None:
                queue.put(stopped())
        if self._vllm is not None:
            vllm, self._vllm = self._vllm, None
            if vllm.output_handler is not None:
                vllm.output_handler.cancel()  # else it reports its processes' end as an error
            await asyncio.to_thread(vllm.shutdown)

    def _started(self) -> Any:
        if self._is_stopped:
            raise Unavailable("the engine is stopped")
        if self._vllm is None:
            raise Unavailable("the engine is still loading")
        return self._vllm

    def _admit(self, request: EngineRequest) -> str:
        """Callers may retry with the same request_id while the first try still ends."""
        limit = self._config.max_batch_size + self._config.max_queued_requests
        if len(self._open) >= limit:
            raise Overloaded(f"{limit} requests run or wait already")
        key = f"{request.request_id}#{next(self._numbers)}"
        self._open[key] = None
        return key

    async def _forget(self, queue: Any) -> None:
        """Does nothing if vLLM has ended the request."""
        if queue is not None and self._vllm is not None:
            await self._vllm.abort(queue.request_id, internal=True)

    async def _submit(self, key: str, request: EngineRequest, eos_ids: frozenset[int]) -> Any:
        """The queue of the request's outputs. Cancelled, it leaves nothing behind in vLLM."""
        check_media(request, self._config, self._model)
        grammar = await self._grammars.grammar(request)
        token_ids = [*request.prompt_token_ids, *request.answered_token_ids]
        prompt = vllm_prompt(token_ids, await self._media.placed(request))
        params = vllm_sampling(remaining_sampling(request), eos_ids, grammar)
        adapter = adapter_request(self._config.vllm.adapter)
        adding = asyncio.ensure_future(self._started().add_request(key, prompt, params, lora_request=adapter))
        try:
            queue = await asyncio.shield(adding)
        except asyncio.CancelledError:
            await self._forget(await adding)
            raise
        self._open[key] = queue
        if self._is_stopped:
            raise stopped()
        return queue
