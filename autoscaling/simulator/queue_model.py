"""A variant's replicas as one queue: requests wait in order, prompts are computed, answers come token by token.

The model is fluid: counts are real numbers, and all replicas are equally busy, as a good router keeps them. A replica
works in steps (`EngineFigures`): those that compute prompts take longer, for every answer in them. A prompt longer
than a step of the simulation keeps one replica's prompt time to itself for as long as it takes. K kinds of requests.
"""

from __future__ import annotations

import numpy as np

from autoscaling.simulator.figures import EngineFigures
from autoscaling.simulator.stage import Stage
from autoscaling.simulator.trace import Floats, Trace

_LITTLE = 1e-9


class QueueModel:
    """State of the queue, and of its past: what T steps of the trace saw is read off afterwards."""

    def __init__(self, trace: Trace, figures: EngineFigures) -> None:
        self._trace = trace
        self._figures = figures
        self._dt = trace.step_s
        self._prefilling = Stage(trace.prompt_tokens_K, trace.steps)
        self._answering = Stage(trace.output_tokens_K, trace.steps)
        self._head = 0.0  # cohorts whose requests have been started: whole ones, and a part of the next
        self._kv_tokens_K = trace.prompt_tokens_K + trace.output_tokens_K / 2
        self.head_T = np.zeros(trace.steps)
        self.prefill_rate_T = np.zeros(trace.steps)  # tokens/s of one prompt
        self.arrived = 0.0
        self.started = 0.0
        self.arrived_tokens = 0.0
        self.started_tokens = 0.0
        self._arrived_T = trace.counts_TK.sum(axis=1)
        self._tokens_T = trace.counts_TK @ trace.prompt_tokens_K
        self._rate = figures.chunk_tokens / figures.mixed_step_s(0)
        self._itl_s = figures.decode_step_s(0)

    @property
    def waiting(self) -> float:
        """Requests that no replica has begun."""
        return max(0.0, self.arrived - self.started)

    @property
    def waiting_tokens(self) -> float:
        """Their prompts."""
        return max(0.0, self.arrived_tokens - self.started_tokens)

    @property
    def running(self) -> float:
        """Requests in the replicas' batches."""
        return self._prefilling.total + self._answering.total

    @property
    def kv_tokens(self) -> float:
        """Of running requests: the prompt, and half of the answer."""
        return float((self._prefilling.inside_K + self._answering.inside_K) @ self._kv_tokens_K)

    @property
    def tokens_to_come(self) -> float:
        """Half of what each running answer will be."""
        return float(self._answering.inside_K @ self._trace.output_tokens_K) / 2

    @property
    def itl_s(self) -> float:
        """Between an answer's tokens, now."""
        return self._itl_s

    @property
    def answered_tokens(self) -> float:
        """The tokens that an answer begun at time 0 would have by now."""
        return self._answering.clock

    def head_wait_s(self, step: int) -> float:
        """How long the request that is next has waited."""
        return max(0.0, (step - self._head) * self._dt)

    def advance(self, step: int, serving: int, draining: int) -> None:
        """One step of the simulation with so many replicas."""
        self.arrived += self._arrived_T[step]
        self.arrived_tokens += self._tokens_T[step]
        self._set_speeds(serving + draining)
        finished_K = self._prefilling.advance(step, self._rate * self._dt)
        if self._itl_s:
            self._answering.advance(step, self._dt / self._itl_s)
        self._answering.enter(step, finished_K)
        self._prefilling.enter(step, self._start(step, serving))
        self.head_T[step] = self._head
        self.prefill_rate_T[step] = self._rate

    def _set_speeds(self, replicas: int) -> None:
        figures = self._figures
        batch = self._answering.total / max(1, replicas)
        mixed_s, plain_s = figures.mixed_step_s(batch), figures.decode_step_s(batch)
        with_prompts = min(1.0, self._busy() / max(1, replicas))
        self._rate = figures.chunk_tokens / mixed_s
        self._itl_s = 1.0 / (with_prompts / mixed_s + (1 - with_prompts) / plain_s)

    def _busy(self) -> float:
        """Replicas that compute prompts: short prompts share one, a long one has one."""
        tokens = np.minimum(self._trace.prompt_tokens_K, self._rate * self._dt)
        return float(self._prefilling.inside_K @ tokens) / (self._rate * self._dt)

    def _start(self, step: int, serving: int) -> Floats:
        """Takes requests from the queue, in order, as far as replicas have time and places for them."""
        cost_K = np.minimum(1.0, self._trace.prompt_tokens_K / (self._rate * self._dt))
        is_long_K = cost_K >= 1.0
        time = serving - float(self._prefilling.inside_K @ is_long_K)
        places = serving * self._figures.max_sequences - self.running
        memory = serving * self._figures.kv_tokens - self.kv_tokens
        started_K = np.zeros_like(cost_K)
        while self._head < step + 1 and min(time, places, memory) > _LITTLE:
            cohort = int(self._head)
            rest_K = self._trace.counts_TK[cohort] * (1 - (self._head - cohort))
            wanted = float(rest_K @ cost_K), float(rest_K.sum()), float(rest_K @ self._kv_tokens_K)
            limits = zip((time, places, memory), wanted, strict=True)
            share = min([1.0, *(has / wants for has, wants in limits if wants > has)])
            started_K += rest_K * share
            time, places, memory = time - wanted[0] * share, places - wanted[1] * share, memory - wanted[2] * share
            self._head = float(cohort + 1) if share == 1.0 else self._head + (cohort + 1 - self._head) * share
        self.started += float(started_K.sum())
        self.started_tokens += float(started_K @ self._trace.prompt_tokens_K)
        return started_K

    def first_token_T(self) -> Floats:
        """Seconds from the middle of each step until its requests were started; inf for those that never were."""
        steps = np.arange(self._trace.steps)
        begun = np.searchsorted(self.head_T, steps + 0.5 - _LITTLE)
        return np.where(begun < self._trace.steps, (begun - steps) * self._dt, np.inf)

    @property
    def clocks_T(self) -> Floats:
        """Tokens that an answer begun at time 0 has at each step's end."""
        return self._answering.clock_T
