"""A model with its experts in one process, or spread over several, as a side of a benchmark; what each rank spends.

One process a rank, with an engine loop of its own. Experts have the proportions of 26B-A4B's.
"""

from __future__ import annotations

import multiprocessing
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from model.config import AttentionShape, ModelConfig, MoeConfig, TextConfig
from model.dispatch import Announced, Dispatched, Dispatcher
from model.expert_shard import ExpertShard, expert_bytes
from model.moe import MixtureOfExperts
from model.runtime.config import RuntimeConfig
from model.runtime.gang import GangConfig, GangSeat, open_store
from model.runtime.loop import EngineLoop
from model.runtime.pace import Together
from model.tiny.tokenizer import VOCAB_SIZE, build_tokenizer
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from model.variants import GLOBAL_ROPE, LOCAL_ROPE, layer_pattern
from model.weights import load_model, save_checkpoint
from tests.bench.native_side import answer
from tests.bench.workload import Timed, Workload

# A quarter of 26B-A4B's width and a fifth of its depth; 128 experts, 8 a token, as there.
TEXT = TextConfig(
    vocab_size=VOCAB_SIZE,
    hidden_size=704,
    mlp_size=528,
    num_heads=4,
    layer_kinds=layer_pattern(6, locals_per_global=5),
    local=AttentionShape(head_dim=64, num_kv_heads=2, rope=LOCAL_ROPE),
    global_=AttentionShape(head_dim=128, num_kv_heads=1, rope=GLOBAL_ROPE, k_is_v=True),
    sliding_window=256,
    max_position_embeddings=1024,
    moe=MoeConfig(num_experts=128, top_k=8, expert_size=176),
)


def write_model(path: Path) -> None:
    """A random checkpoint in float32, 1.2 GB."""
    torch.manual_seed(0)
    save_checkpoint(Transformer(TEXT).requires_grad_(False), ModelConfig(text=TEXT, dtype="float32"), path)


@dataclass(frozen=True)
class Spent:
    """Of one rank over a workload: seconds in all and within dispatch and combine (waiting for other ranks included),
    processor seconds likewise, passes, and bytes of experts held."""

    seconds: float
    moving_s: float
    cpu_s: float
    moving_cpu_s: float
    passes: int
    expert_bytes: int


class RankSide:
    """`num_ranks` processes of `threads` threads each; workloads are dealt out evenly. 1 has all experts, no gang."""

    def __init__(self, path: Path, num_ranks: int, threads: int, batch: int) -> None:
        self._store = open_store("127.0.0.1")
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for rank in range(num_ranks):
            ours, theirs = context.Pipe()
            seat = GangSeat(GangConfig(rank, num_ranks, timeout_s=120), ("127.0.0.1", self._store.port))
            args = (theirs, path, seat if num_ranks > 1 else None, threads, batch // num_ranks)
            self._processes.append(context.Process(target=_serve, args=args, daemon=True))
            self._processes[-1].start()
            self._pipes.append(ours)
        for pipe in self._pipes:
            pipe.recv()
        self.spent: list[list[Spent]] = []

    def answer(self, workload: Workload) -> Timed:
        """See Side: of all ranks together. Then `spent[-1]` says what each spent."""
        count = len(self._pipes)
        for rank, pipe in enumerate(self._pipes):
            share = Workload(workload.prompts[rank::count], workload.num_tokens[rank::count], workload.batch // count)
            pipe.send(share)
        results: list[tuple[Timed, Spent]] = [pipe.recv() for pipe in self._pipes]
        self.spent.append([spent for _, spent in results])
        answers: list[list[int]] = [[] for _ in workload.prompts]
        for rank, (timed, _) in enumerate(results):
            answers[rank::count] = timed.answers
        prefill_s = max(timed.prefill_s for timed, _ in results)
        whole_s = max(timed.prefill_s + timed.decode_s for timed, _ in results)
        return Timed(answers, prefill_s, whole_s - prefill_s, sum(timed.num_decoded for timed, _ in results))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            with suppress(BrokenPipeError):
                pipe.send(None)
        for process in self._processes:
            process.join(10)
            process.kill()


class _Timed:
    """A dispatcher whose time is taken."""

    def __init__(self, inner: Dispatcher) -> None:
        self._inner = inner
        self.seconds = self.cpu_s = 0.0

    def announce(self, experts_TK: Tensor) -> Announced:
        """See Dispatcher."""
        started, cpu = time.perf_counter(), time.thread_time()
        announced = self._inner.announce(experts_TK)
        self._add(started, cpu)
        return announced

    def dispatch(self, x_TD: Tensor, announced: Announced) -> Dispatched:
        """See Dispatcher."""
        started, cpu = time.perf_counter(), time.thread_time()
        dispatched = self._inner.dispatch(x_TD, announced)
        self._add(started, cpu)
        return dispatched

    def combine(self, rows_RD: Tensor, dispatched: Dispatched, weights_TK: Tensor) -> Tensor:
        """See Dispatcher."""
        started, cpu = time.perf_counter(), time.thread_time()
        out_TD = self._inner.combine(rows_RD, dispatched, weights_TK)
        self._add(started, cpu)
        return out_TD

    def _add(self, started: float, cpu: float) -> None:
        self.seconds += time.perf_counter() - started
        self.cpu_s += time.thread_time() - cpu


def _serve(pipe: Connection, path: Path, seat: GangSeat | None, threads: int, batch: int) -> None:
    torch.set_num_threads(threads)
    shard = None if seat is None else ExpertShard(seat.config.rank, seat.config.num_ranks)
    model = load_model(path, shard=shard)
    pace = None if seat is None or shard is None else Together.join(seat, shard, model, path, rebalance_passes=1)
    timers = [_time(module) for module in model.modules() if isinstance(module, MixtureOfExperts)]
    held = expert_bytes(model)
    config = RuntimeConfig(batch, max_context=512, prefill_tokens=4096, num_threads=threads, has_prefix_cache=False)
    with EngineLoop(model, Tokenizer(build_tokenizer(), {}), config, eos_token_ids=(), pace=pace) as loop:
        pipe.send(None)
        while (workload := pipe.recv()) is not None:
            before = _now(timers, loop, held)
            timed = answer(loop, workload)
            pipe.send((timed, _difference(before, _now(timers, loop, held))))


def _time(moe: MixtureOfExperts) -> _Timed:
    timer = _Timed(moe.dispatcher)
    moe.dispatcher = timer
    return timer


def _now(timers: list[_Timed], loop: EngineLoop, held: int) -> Spent:
    moving_s, moving_cpu_s = sum(timer.seconds for timer in timers), sum(timer.cpu_s for timer in timers)
    return Spent(time.perf_counter(), moving_s, time.process_time(), moving_cpu_s, loop.stats().steps, held)


def _difference(before: Spent, after: Spent) -> Spent:
    return Spent(
        after.seconds - before.seconds,
        after.moving_s - before.moving_s,
        after.cpu_s - before.cpu_s,
        after.moving_cpu_s - before.moving_cpu_s,
        after.passes - before.passes,
        after.expert_bytes,
    )
