"""Our own torch runtime behind the engine interface: a thread steps the model, asyncio streams what it makes."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path

import torch

from cluster.config import ConfigError, VariantConfig
from cluster.engines.base import Engine, EngineLoad, EngineOutput, EngineRequest
from cluster.engines.constraints import ConstraintSource
from cluster.engines.kv_budget import with_kv_budget
from cluster.engines.soft_tokens import SoftTokenSource
from cluster.engines.token_outputs import engine_output
from cluster.errors import ClusterError, InvalidRequest, Overloaded, Unavailable
from model.constraint import ConstraintCompiler
from model.expert_shard import ExpertShard, expert_bytes
from model.multimodal import load_multimodal
from model.quantization.scheme import Quantization
from model.runtime.config import RuntimeConfig
from model.runtime.gang import GangSeat
from model.runtime.loop import EngineLoop
from model.runtime.output import TokenOutput
from model.runtime.pace import Together
from model.runtime.packed_weights import multiplies_bfloat16
from model.runtime.scheduler import QueueFullError
from model.tokenizer import Tokenizer

_DTYPES = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}


class NativeEngine(Engine):
    """Runs a checkpoint with `model.runtime`."""

    def __init__(
        self, checkpoint: Path, config: VariantConfig, context_tokens: int, seat: GangSeat | None = None
    ) -> None:
        """With `seat` it is one rank of a gang over which the experts are spread."""
        self._checkpoint = checkpoint
        self._config = config
        self._context_tokens = context_tokens
        self._seat = seat
        self._expert_bytes = 0
        self._loop: EngineLoop | None = None
        self._media: SoftTokenSource | None = None
        self._constraints: ConstraintSource | None = None
        self._numbers = itertools.count()

    async def start(self) -> None:
        """Loads the weights off the event loop, so that health checks go on."""
        await asyncio.to_thread(self._load)

    def _load(self) -> None:
        # Two threads on one physical core, or two engines on all cores, wait for each other more than they gain.
        num_threads = self._config.num_threads or max(1, (os.cpu_count() or 1) // 2)
        device = _device(self._config)
        shard = self._shard()
        model = load_multimodal(
            self._checkpoint,
            dtype=_DTYPES[self._config.dtype],
            device=device,
            quantization=_quantization(self._config),
            maps_tables=self._config.memory_map_tables,
            shard=shard,
        )
        self._expert_bytes = expert_bytes(model.text)
        dtype = model.text.dtype
        if device.type == "cpu" and not multiplies_bfloat16():
            dtype = torch.float32  # of activations: the loop keeps 16-bit weights and computes in float32
            model.encoders.float()
        config = RuntimeConfig(
            max_batch_size=self._config.max_batch_size,
            max_context=self._context_tokens,
            max_waiting=max(1, self._config.max_queued_requests),
            prefill_tokens=self._config.prefill_tokens or RuntimeConfig.prefill_tokens,
            kv_token_budget=self._config.kv_cache_tokens,
            has_prefix_cache=self._config.prefix_cache,
            num_threads=num_threads,
        )
        config = with_kv_budget(config, model.config.text, dtype, device, num_sharers=self._config.expert_ranks)
        tokenizer = Tokenizer.from_checkpoint(self._checkpoint)
        self._media = SoftTokenSource(model, self._checkpoint, num_threads)
        ends = model.config.eos_token_ids
        self._constraints = ConstraintSource(ConstraintCompiler(tokenizer, model.config.text.vocab_size, ends))
        pace = None
        if self._seat is not None and shard is not None:
            pace = Together.join(self._seat, shard, model.text, self._checkpoint, self._config.rebalance_passes)
        self._loop = EngineLoop(model.text, tokenizer, config, eos_token_ids=ends, pace=pace)

    def _shard(self) -> ExpertShard | None:
        if self._seat is None:
            return None
        seat = self._seat.config
        return ExpertShard(seat.rank, seat.num_ranks, self._config.expert_copies)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineOutput, None]:
        """Streams what the engine thread makes; closing it aborts the request."""
        loop, media, constraint, outputs = self._started(), None, None, _Outputs()
        if self._constraints is not None:
            constraint = await self._constraints.constraint(request)
        if self._media is not None:
            media = await self._media.prompt_media(request)
        # Callers may retry with the same request_id while the first try still ends.
        key = f"{request.request_id}#{next(self._numbers)}"
        try:
            loop.submit(
                key,
                request.prompt_token_ids,
                request.sampling,
                outputs.put,
                media,
                constraint,
                answered=request.answered_token_ids,
            )
        except QueueFullError as error:
            raise Overloaded(str(error)) from error
        except ValueError as error:
            raise InvalidRequest.of("request", str(error)) from error
        except RuntimeError as error:
            raise Unavailable("the engine is stopped") from error
        is_finished = False
        try:
            while not is_finished:
                for output in await outputs.take():
                    is_finished = output.finish_reason is not None
                    yield engine_output(output, request)
        finally:
            if not is_finished:
                loop.abort(key)

    def load(self) -> EngineLoad:
        stats = self._started().stats()
        details = {"expert_bytes": float(self._expert_bytes)}
        return EngineLoad(stats.running, stats.waiting, stats.kv_tokens_used, stats.kv_tokens_capacity, details)

    async def check_health(self) -> None:
        """Raises when the engine thread has died."""
        if not self._started().is_alive:
            raise ClusterError("the engine's thread has died")

    async def stop(self) -> None:
        if self._media is not None:
            self._media.close()
        if self._constraints is not None:
            self._constraints.close()
        if self._loop is not None:
            await asyncio.to_thread(self._loop.stop)

    def _started(self) -> EngineLoop:
        if self._loop is None:
            raise Unavailable("the engine is still loading")
        return self._loop


def _quantization(config: VariantConfig) -> Quantization | None:
    if config.weights == "auto":
        return None
    return Quantization({"int8": 8, "int4": 4}[config.weights], config.weight_group_size)


class _Outputs:
    """Carries outputs from the engine thread to the event loop; wakes the loop once for many."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._items: deque[TokenOutput] = deque()

    def put(self, output: TokenOutput) -> None:
        """Called on the engine thread. A closed event loop means nobody listens any more."""
        self._items.append(output)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.set)

    async def take(self) -> list[TokenOutput]:
        """Waits for outputs. A deque may be filled at one end while it is emptied at the other."""
        await self._ready.wait()
        self._ready.clear()
        return [self._items.popleft() for _ in range(len(self._items))]


def _device(config: VariantConfig) -> torch.device:
    """A GPU if the variant reserves one: Ray then shows the replica that one alone."""
    if config.num_gpus == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(f"num_gpus is {config.num_gpus:g}, but torch finds no GPU here")
    return torch.device("cuda")
