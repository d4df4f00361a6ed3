"""What a replica tells the autoscaler, on a clock that the test moves."""

from __future__ import annotations

import tracemalloc

import pytest

from cluster.engines.base import EngineLoad
from cluster.variants.meter import WINDOW_S, Meter

LOAD = EngineLoad(running=2, waiting=1, kv_tokens=300, kv_capacity_tokens=4000)


class Clock:
    """Seconds, as told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> Meter:
    return Meter(clock)


def answer(meter: Meter, clock: Clock, prompt: int, ttft_s: float, tokens: int, itl_s: float) -> None:
    with meter.answer(prompt) as one:
        clock.now += ttft_s
        meter.wrote(one, 1)
        for _ in range(tokens - 1):
            clock.now += itl_s
            meter.wrote(one, 1)


def test_a_new_replica_is_idle(meter: Meter) -> None:
    signals = meter.signals(EngineLoad())
    assert signals.requests_per_s == signals.output_tokens_per_s == signals.decode_tokens_in_flight == 0
    assert signals.ttft_s is None
    assert signals.itl_s is None


def test_rates_and_times_are_those_of_the_answers(meter: Meter, clock: Clock) -> None:
    answer(meter, clock, prompt=100, ttft_s=0.5, tokens=10, itl_s=0.1)
    answer(meter, clock, prompt=300, ttft_s=1.5, tokens=30, itl_s=0.1)
    signals = meter.signals(LOAD)
    seconds = clock.now - 100
    assert signals.requests_per_s == pytest.approx(2 / seconds)
    assert signals.prompt_tokens_per_s == pytest.approx(400 / seconds)
    assert signals.output_tokens_per_s == pytest.approx(40 / seconds)
    assert (signals.ttft_s, signals.itl_s) == (pytest.approx(1.0), pytest.approx(0.1))
    assert signals.tokens_per_answer == 20
    assert (signals.running, signals.waiting, signals.kv_tokens, signals.kv_capacity_tokens) == (2, 1, 300, 4000)


def test_prompts_wait_until_their_first_token_and_answers_for_their_usual_length(meter: Meter, clock: Clock) -> None:
    answer(meter, clock, prompt=10, ttft_s=0.1, tokens=50, itl_s=0.01)
    with meter.answer(700), meter.answer(900) as begun:
        meter.wrote(begun, 20)
        signals = meter.signals(LOAD)
        assert signals.prefill_tokens_waiting == 700
        assert signals.decode_tokens_in_flight == 50 + 30
    assert meter.signals(LOAD).prefill_tokens_waiting == 0


def test_what_is_long_ago_is_forgotten(meter: Meter, clock: Clock) -> None:
    answer(meter, clock, prompt=100, ttft_s=0.1, tokens=5, itl_s=0.1)
    clock.now += WINDOW_S + 1
    signals = meter.signals(EngineLoad())
    assert signals.requests_per_s == signals.prompt_tokens_per_s == signals.output_tokens_per_s == 0
    assert signals.ttft_s is None


def test_an_answer_that_is_given_up_waits_for_nothing_more(meter: Meter) -> None:
    with pytest.raises(RuntimeError), meter.answer(500):
        raise RuntimeError("cancelled")
    assert meter.signals(LOAD).prefill_tokens_waiting == 0


def test_what_nobody_asks_for_takes_no_memory(meter: Meter, clock: Clock) -> None:
    """Serve asks only replicas that it scales."""
    with meter.answer(10) as one:
        tracemalloc.start()
        try:
            for _ in range(20_000):
                clock.now += 0.05
                meter.wrote(one, 1)
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert grown < 20_000
