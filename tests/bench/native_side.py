"""Our engine as a side of a benchmark, through its whole runtime: queue, scheduler, sampler, detokeniser, callbacks."""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from model.runtime.config import RuntimeConfig
from model.runtime.loop import EngineLoop
from model.runtime.output import TokenOutput
from model.runtime.sampling import SamplingParams
from model.tiny.tokenizer import build_tokenizer
from model.tokenizer import Tokenizer
from model.weights import load_model
from tests.bench.workload import Timed, Workload


class NativeSide:
    """A checkpoint in an engine loop. Weights are as stored unless `dtype` says otherwise."""

    def __init__(self, path: Path, batch: int, threads: int, dtype: torch.dtype | None = None) -> None:
        config = RuntimeConfig(batch, max_context=512, prefill_tokens=4096, num_threads=threads, has_prefix_cache=False)
        tokenizer = Tokenizer(build_tokenizer(), {})
        self._loop = EngineLoop(load_model(path, dtype=dtype), tokenizer, config, eos_token_ids=())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.stop()

    def answer(self, workload: Workload) -> Timed:
        """See Side."""
        return answer(self._loop, workload)


def answer(loop: EngineLoop, workload: Workload) -> Timed:
    """What a loop makes of a workload. Requests are handed over one by one, as callers would."""
    gathered = _Gathered(len(workload.prompts))
    for i, (prompt, count) in enumerate(zip(workload.prompts, workload.num_tokens, strict=True)):
        loop.submit(str(i), prompt, SamplingParams(count, temperature=0, ignore_eos=True), gathered.put)
    return gathered.wait()


class _Gathered:
    """Outputs of a workload's requests, with the time at which the last request got its first token."""

    def __init__(self, count: int) -> None:
        self._answers: list[list[int]] = [[] for _ in range(count)]
        self._finished = threading.Semaphore(0)
        self._waiting = set(range(count))
        self._started = self._all_begun = time.perf_counter()
        self._num_decoded = 0

    def put(self, output: TokenOutput) -> None:
        """Called on the engine's thread."""
        row = int(output.request_id)
        if not self._waiting:
            self._num_decoded += len(output.token_ids)
        self._answers[row] += output.token_ids
        if row in self._waiting:
            self._waiting.discard(row)
            self._all_begun = time.perf_counter()
        if output.finish_reason is not None:
            self._finished.release()

    def wait(self) -> Timed:
        for _ in self._answers:
            self._finished.acquire()
        ended = time.perf_counter()
        return Timed(self._answers, self._all_begun - self._started, ended - self._all_begun, self._num_decoded)
