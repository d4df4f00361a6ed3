"""What requests cost a replica, measured for the autoscaler: tokens that came, are waited for and were written."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from autoscaling.signals import ReplicaSignals
from cluster.engines.base import EngineLoad

# Rates and means are over so long: shorter than a load changes, longer than a few answers take.
WINDOW_S = 30.0


class _Recent:
    """Sum and number of the values of the last WINDOW_S, a bucket a second: memory is bounded, whether or not anybody
    asks, however much is written."""

    def __init__(self) -> None:
        self._buckets: deque[list[float]] = deque()  # [second, sum, number]

    def add(self, now: float, value: float) -> None:
        if not self._buckets or self._buckets[-1][0] != int(now):
            self._buckets.append([int(now), 0.0, 0])
            self.forget(now)
        self._buckets[-1][1] += value
        self._buckets[-1][2] += 1

    def forget(self, now: float) -> None:
        while self._buckets and self._buckets[0][0] < now - WINDOW_S:
            self._buckets.popleft()

    @property
    def total(self) -> float:
        return sum(bucket[1] for bucket in self._buckets)

    @property
    def mean(self) -> float | None:
        number = sum(bucket[2] for bucket in self._buckets)
        return self.total / number if number else None


class MeteredAnswer:
    """One answer on its way."""

    def __init__(self, prompt_tokens: int, began_s: float) -> None:
        self.prompt_tokens, self.began_s = prompt_tokens, began_s
        self.tokens = 0
        self.first_s: float | None = None


class Meter:
    """Of one engine. `now` is any clock that only goes forward, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._started_s = now, now()
        self._answers: set[MeteredAnswer] = set()
        self._arrived, self._prompt_tokens, self._output_tokens = _Recent(), _Recent(), _Recent()
        self._lengths, self._ttft_s, self._itl_s = _Recent(), _Recent(), _Recent()

    @contextmanager
    def answer(self, prompt_tokens: int) -> Iterator[MeteredAnswer]:
        """A request, until its answer has ended or was given up."""
        now = self._now()
        answer = MeteredAnswer(prompt_tokens, now)
        self._answers.add(answer)
        self._arrived.add(now, 1)
        self._prompt_tokens.add(now, prompt_tokens)
        try:
            yield answer
        finally:
            self._answers.remove(answer)
            self._end(answer, self._now())

    def wrote(self, answer: MeteredAnswer, tokens: int) -> None:
        """The engine put out so many more tokens of it."""
        now = self._now()
        if answer.first_s is None:
            answer.first_s = now
            self._ttft_s.add(now, now - answer.began_s)
        answer.tokens += tokens
        self._output_tokens.add(now, tokens)

    def _end(self, answer: MeteredAnswer, now: float) -> None:
        self._lengths.add(now, answer.tokens)
        if answer.first_s is not None and answer.tokens > 1:
            self._itl_s.add(now, (now - answer.first_s) / (answer.tokens - 1))

    def signals(self, load: EngineLoad) -> ReplicaSignals:
        """What the autoscaler reads; `load` is the engine's."""
        now = self._now()
        recent = (
            self._arrived, self._prompt_tokens, self._output_tokens, self._lengths, self._ttft_s, self._itl_s
        )  # fmt: skip
        for values in recent:
            values.forget(now)
        seconds = min(WINDOW_S, max(1.0, now - self._started_s))
        length = self._lengths.mean or 0.0
        return ReplicaSignals(
            running=load.running,
            waiting=load.waiting,
            prefill_tokens_waiting=sum(answer.prompt_tokens for answer in self._answers if not answer.tokens),
            decode_tokens_in_flight=sum(max(0.0, length - answer.tokens) for answer in self._answers),
            kv_tokens=load.kv_tokens,
            kv_capacity_tokens=load.kv_capacity_tokens,
            requests_per_s=self._arrived.total / seconds,
            prompt_tokens_per_s=self._prompt_tokens.total / seconds,
            output_tokens_per_s=self._output_tokens.total / seconds,
            tokens_per_answer=length,
            ttft_s=self._ttft_s.mean,
            itl_s=self._itl_s.mean,
        )
