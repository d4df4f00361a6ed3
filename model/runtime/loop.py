"""The engine loop: one thread that serves all requests of one model, batched, until it is stopped."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import torch

from model.config import ModelConfig
from model.constraint import Constraint
from model.kernels.loading import can_compile, decode_attention, decode_layers
from model.runtime.answer import Answer
from model.runtime.code_pages import release_code
from model.runtime.config import RuntimeConfig
from model.runtime.gang import GangError, Intent
from model.runtime.kv_cache import PagedCache
from model.runtime.output import RuntimeStats, TokenOutput
from model.runtime.pace import Alone, Pace
from model.runtime.packed_weights import is_quantized, pack_16_bit
from model.runtime.prompt_media import PromptMedia
from model.runtime.runner import Runner
from model.runtime.sampler import Drawn, Sampler
from model.runtime.sampling import SamplingParams
from model.runtime.scheduler import Plan, Scheduler
from model.runtime.sequence import Sequence
from model.runtime.weight_layout import store_input_major
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from model.weights import load_model

if TYPE_CHECKING:
    from model.runtime.decode_stack import DecodeStack

logger = logging.getLogger(__name__)

OnOutput = Callable[[TokenOutput], None]


@dataclass(eq=False)
class _Request:
    sequence: Sequence
    answer: Answer
    on_output: OnOutput


class EngineLoop:
    """Takes requests from any thread, computes them together, and calls back from its own thread.

    Every submitted request gets outputs until exactly one with a `finish_reason`. A callback must not block:
    the next step waits for it. If a callback raises, its request is aborted.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        config: RuntimeConfig,
        *,
        eos_token_ids: Iterable[int],
        pace: Pace | None = None,
    ) -> None:
        """`pace`, which the loop then owns, says when it steps; None: whenever it has work, as it has all experts."""
        limit = model.config.max_position_embeddings
        if config.max_context > limit:
            raise ValueError(f"max_context {config.max_context} is beyond the model's {limit}")
        pack_16_bit(model)
        store_input_major(model)
        weight = next(model.parameters())
        self._config = config
        self._tokenizer = tokenizer
        self._vocab_size = model.config.vocab_size
        self._eos_ids = frozenset(eos_token_ids)
        self._cache = PagedCache(model.config, config, model.dtype, weight.device)
        self._scheduler = Scheduler(config, self._cache)
        self._pace = pace or Alone()
        self._runner = Runner(
            model,
            self._cache,
            weight.device,
            Sampler(tokenizer),
            is_spread=not self._pace.is_alone,
            kernel=decode_attention() if is_quantized(model) else None,
            stack=_decode_stack(model, self._cache),
        )
        if is_quantized(model):
            release_code()
        # Guards everything below and the scheduler; never held while the model runs or a callback is called.
        self._changed = threading.Condition()
        self._requests: dict[str, _Request] = {}
        self._aborted: list[_Request] = []
        self._is_stopping = False
        self._num_steps = self._num_prompt_tokens = self._num_generated_tokens = 0
        self._thread = threading.Thread(target=self._run, name="engine-loop", daemon=True)
        self._thread.start()

    @classmethod
    def from_checkpoint(cls, path: Path, config: RuntimeConfig) -> Self:
        """Loads model, tokenizer and stop tokens of a checkpoint folder."""
        stops = ModelConfig.from_checkpoint(path).eos_token_ids
        return cls(load_model(path), Tokenizer.from_checkpoint(path), config, eos_token_ids=stops)

    def submit(
        self,
        request_id: str,
        prompt_token_ids: Iterable[int],
        params: SamplingParams,
        on_output: OnOutput,
        media: PromptMedia | None = None,
        constraint: Constraint | None = None,
        *,
        answered: Iterable[int] = (),
    ) -> None:
        """Queues a request; its outputs go to `on_output`. `media` fill the placeholders of the prompt, `constraint` is
        its response format, compiled. With the token ids that were `answered` already, by a loop like this one, the
        outputs are those that it would have gone on with.

        ValueError for an empty or too long prompt, unknown token ids or a request id in use; QueueFullError
        if `max_waiting` requests wait; RuntimeError after `stop`.
        """
        sequence = Sequence(request_id, prompt_token_ids, params, media, constraint, answered=answered)
        sequence.check(self._config.max_context, self._vocab_size)
        answer = Answer(sequence, self._tokenizer, self._eos_ids, self._config.max_context)
        with self._changed:
            if self._is_stopping:
                raise RuntimeError("the engine loop is stopped")
            if request_id in self._requests:
                raise ValueError(f"request id {request_id!r} is in use")
            self._scheduler.add(sequence)
            self._requests[request_id] = _Request(sequence, answer, on_output)
            self._pace.wake(self._changed)

    def abort(self, request_id: str) -> None:
        """Ends a request, waiting or running, within one step; nothing happens if it has ended already."""
        with self._changed:
            request = self._requests.get(request_id)
            if request is not None:
                self._mark_aborted(request)

    def stop(self) -> None:
        """Aborts all requests and ends the thread. May be called twice."""
        with self._changed:
            self._is_stopping = True
            self._pace.wake(self._changed)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether the loop's thread runs."""
        return self._thread.is_alive()

    def stats(self) -> RuntimeStats:
        """A consistent picture of this moment."""
        with self._changed:
            scheduler = self._scheduler
            return RuntimeStats(
                running=len(scheduler.running),
                waiting=len(scheduler.waiting),
                kv_tokens_used=sum(sequence.num_cached for sequence in scheduler.running),
                kv_tokens_capacity=self._config.kv_tokens,
                kv_bytes=self._cache.num_bytes,
                steps=self._num_steps,
                prompt_tokens=self._num_prompt_tokens,
                generated_tokens=self._num_generated_tokens,
                preemptions=scheduler.num_preemptions,
                reused_prompt_tokens=scheduler.num_reused_tokens,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _mark_aborted(self, request: _Request) -> None:
        if not request.sequence.is_aborted:
            request.sequence.is_aborted = True
            self._aborted.append(request)
            self._pace.wake(self._changed)

    def _run(self) -> None:
        if self._config.num_threads is not None:
            torch.set_num_threads(self._config.num_threads)
        last_output: Callable[[Answer], TokenOutput] = Answer.abort
        try:
            while self._step():
                pass
        except GangError as error:
            logger.error("the engine loop ends: %s", error)
            last_output = partial(Answer.fail, error=error)
        except Exception as error:  # a defect of ours: nobody may be left waiting for it
            logger.exception("the engine loop failed")
            last_output = partial(Answer.fail, error=error)
        self._pace.leave()
        with self._changed:
            self._is_stopping = True
            remaining = list(self._requests.values())
        self._end(remaining, last_output)

    def _has_news(self) -> bool:
        return self._is_stopping or bool(self._aborted) or self._scheduler.has_work

    def _step(self) -> bool:
        """Wait, drop, plan, agree, run, deliver; False when it is time to end."""
        self._pace.wait(self._changed, self._has_news)
        with self._changed:
            aborted, self._aborted = self._aborted, []
        self._end(aborted, Answer.abort)
        with self._changed:
            plan = self._scheduler.schedule(others_decode=self._pace.others_decode)
            ours = Intent(not plan.is_empty, bool(plan.decodes), self._is_stopping)
        joint = self._pace.agree(ours)
        if joint.has_pass and not joint.is_stopping:
            self._compute(plan)
            self._pace.after_pass()
        return not joint.is_stopping

    def _compute(self, plan: Plan) -> None:
        if plan.is_empty:
            self._runner.assist()
            return
        try:
            started = time.perf_counter()
            drawn = self._runner.run(plan)
        except GangError:
            raise
        except Exception as error:
            self._fail(plan, error)
        else:
            self._deliver(plan, drawn, time.perf_counter() - started)

    def _fail(self, plan: Plan, error: Exception) -> None:
        """Ends what the failed pass was new to: prompts before running answers, which get another pass."""
        logger.exception("a forward pass failed")
        suspects = [chunk.sequence for chunk in plan.chunks] or plan.decodes
        requests = [self._requests[sequence.request_id] for sequence in suspects]
        self._end(requests, partial(Answer.fail, error=error))

    def _deliver(self, plan: Plan, drawn: list[Drawn], seconds: float) -> None:
        with self._changed:
            drawing = plan.drawing  # before counting: a chunk is the last one only while it is pending
            self._count(plan, len(drawn), seconds)
            outputs = [self._accept(*pair) for pair in zip(drawing, drawn, strict=True)]
            ended = [request for request, output in outputs if output.finish_reason is not None]
            self._forget(ended)
        for request, output in outputs:
            self._call_back(request, output)

    def _count(self, plan: Plan, num_drawn: int, seconds: float) -> None:
        self._scheduler.count(plan, seconds)
        self._num_prompt_tokens += plan.num_prompt_tokens
        self._num_steps += 1
        self._num_generated_tokens += num_drawn

    def _accept(self, sequence: Sequence, drawn: Drawn) -> tuple[_Request, TokenOutput]:
        sequence.tokens.append(drawn.token_id)
        request = self._requests[sequence.request_id]
        if drawn.error is not None:
            return request, request.answer.fail(drawn.error)
        try:
            output = request.answer.accept(drawn.token_id)
            return request, output if drawn.logprobs is None else replace(output, logprobs=(drawn.logprobs,))
        except Exception as error:
            logger.exception("an answer could not be read")
            return request, request.answer.fail(error)

    def _end(self, requests: list[_Request], last_output: Callable[[Answer], TokenOutput]) -> None:
        """Frees what they hold, then tells the callers."""
        with self._changed:
            live = [request for request in requests if self._is_live(request)]
            self._forget(live)
        for request in live:
            self._call_back(request, last_output(request.answer))

    def _is_live(self, request: _Request) -> bool:
        return self._requests.get(request.sequence.request_id) is request

    def _forget(self, requests: list[_Request]) -> None:
        self._scheduler.remove([request.sequence for request in requests])
        for request in requests:
            del self._requests[request.sequence.request_id]

    def _call_back(self, request: _Request, output: TokenOutput) -> None:
        try:
            request.on_output(output)
        except Exception:
            logger.exception("the callback of request %s failed", output.request_id)
            if output.finish_reason is None:
                self.abort(output.request_id)


def _decode_stack(model: Transformer, cache: PagedCache) -> "DecodeStack | None":
    """None where the blocks have to be run one by one."""
    if not (is_quantized(model) and can_compile()):
        return None
    from model.runtime.decode_stack import DecodeStack

    kernel = decode_layers() if DecodeStack.can_hold(model) else None
    return None if kernel is None else DecodeStack(model, cache, kernel)
