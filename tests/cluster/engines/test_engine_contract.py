"""The contract of `cluster.engines.base.Engine`, held against every engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cluster.engines.base import Engine, EngineLoad, EngineOutput, EngineRequest, FinishReason
from cluster.errors import InvalidRequest, Overloaded, ReplicaLost, Unavailable
from model.runtime.sampling import SamplingParams
from model.tokenizer import Tokenizer
from tests.cluster.engines.conftest import CONTEXT_TOKENS, MakeEngine

PROMPT = "The quick brown fox jumps over the lazy dog. "
# vLLM's engines outlive a test, and so must their event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Ask:
    """Makes requests of one prompt; greedy and without an early end unless told otherwise."""

    tokenizer: Tokenizer

    def __call__(self, text: str = PROMPT, *, max_tokens: int = 16, request_id: str = "r", **sampling: Any) -> Any:
        options = {"temperature": 0.0, "ignore_eos": True, **sampling}
        return EngineRequest(request_id, self.tokenizer.encode(text), SamplingParams(max_tokens=max_tokens, **options))

    def long(self, request_id: str = "r") -> EngineRequest:
        """One that runs for many seconds on an engine made with a delay of 50 ms."""
        return self(PROMPT * 8, max_tokens=7000, request_id=request_id)


@pytest.fixture
def ask(tokenizer: Tokenizer) -> Ask:
    """A maker of requests."""
    return Ask(tokenizer)


async def _all(outputs: AsyncGenerator[EngineOutput, None]) -> list[EngineOutput]:
    return [output async for output in outputs]


async def _text(engine: Engine, request: EngineRequest) -> str:
    return "".join(output.text for output in await _all(engine.generate(request)))


async def _reach(engine: Engine, busy: int) -> EngineLoad:
    """Waits until that many requests run or wait; not for so long that a long one could end by itself."""
    async with asyncio.timeout(2):
        while (load := engine.load()).running + load.waiting != busy:
            await asyncio.sleep(0.002)
    return load


async def test_outputs_come_until_exactly_one_has_a_finish_reason(engine: Engine, ask: Ask) -> None:
    outputs = await _all(engine.generate(ask()))
    assert [output.finish_reason is not None for output in outputs] == [False] * (len(outputs) - 1) + [True]
    assert all(output.token_count >= 1 for output in outputs)
    assert "".join(output.text for output in outputs)


@pytest.mark.parametrize("max_tokens", [1, 2, 7])
async def test_max_tokens_is_kept_to_the_token(engine: Engine, ask: Ask, max_tokens: int) -> None:
    outputs = await _all(engine.generate(ask(max_tokens=max_tokens)))
    assert sum(output.token_count for output in outputs) == max_tokens
    assert outputs[-1].finish_reason == FinishReason.LENGTH


async def test_the_first_output_comes_before_the_answer_is_complete(engine: Engine, ask: Ask) -> None:
    async with aclosing(engine.generate(ask.long())) as outputs:
        first = await anext(outputs)
    assert first.finish_reason is None
    assert first.token_count < 100


async def test_greedy_answers_are_the_same_every_time(engine: Engine, ask: Ask) -> None:
    assert await _text(engine, ask()) == await _text(engine, ask())


async def test_a_seed_gives_the_same_answer_every_time(engine: Engine, ask: Ask) -> None:
    options = {"temperature": 1.0, "seed": 7}
    assert await _text(engine, ask(**options)) == await _text(engine, ask(**options))


async def test_company_changes_no_answer(engine: Engine, ask: Ask) -> None:
    prompts = [PROMPT, "Another one entirely", "x", PROMPT * 3]
    alone = [await _text(engine, ask(prompt)) for prompt in prompts]
    together = await asyncio.gather(*(_text(engine, ask(prompt, request_id=prompt[:9])) for prompt in prompts))
    assert together == alone


async def test_a_request_id_may_come_twice_at_once(engine: Engine, ask: Ask) -> None:
    """A retry may overlap with the try before it."""
    first, second = await asyncio.gather(*(_text(engine, ask(request_id="same")) for _ in range(2)))
    assert first == second


@pytest.mark.parametrize("prompt", [[], [2**31], [5] * CONTEXT_TOKENS], ids=["empty", "no such token", "too long"])
async def test_a_prompt_that_cannot_be_run_is_refused_and_leaves_nothing(
    engine: Engine, kind: str, prompt: list[int]
) -> None:
    if kind == "echo":
        pytest.skip("the echo engine has neither vocabulary nor context")
    with pytest.raises(InvalidRequest):
        await anext(engine.generate(EngineRequest("r", prompt, SamplingParams(max_tokens=1))))
    await _reach(engine, 0)


async def test_usage_is_told_to_the_token(engine: Engine, ask: Ask) -> None:
    """Twice the same prompt: the second time an engine may have some of it, but never more than there is."""
    request = ask(PROMPT * 20, max_tokens=5)
    for _ in range(2):
        outputs = await _all(engine.generate(request))
        assert sum(output.token_count for output in outputs) == 5
        assert {output.cached_tokens < len(request.prompt_token_ids) for output in outputs} == {True}


async def test_text_ends_before_a_stop_string(engine: Engine, ask: Ask) -> None:
    free = await _text(engine, ask(max_tokens=32))
    stop = free[len(free) // 2 :][:3]
    outputs = await _all(engine.generate(ask(max_tokens=32, stop=(stop, "never said"))))
    assert "".join(output.text for output in outputs) == free[: free.index(stop)]
    assert outputs[-1].finish_reason == FinishReason.STOP


async def test_a_stop_string_that_never_comes_changes_nothing(engine: Engine, ask: Ask) -> None:
    free = await _text(engine, ask())
    assert await _text(engine, ask(stop=(free[-2:] + "\0",))) == free


@pytest.mark.parametrize("cut", [1, 2, 9, 15])
async def test_an_answer_that_another_engine_began_goes_on_as_it_would_have(engine: Engine, ask: Ask, cut: int) -> None:
    stop = (await _text(engine, ask(max_tokens=32)))[-4:]
    request = ask(max_tokens=32, stop=(stop, "never said"))
    whole = await _all(engine.generate(request))
    answered = tuple(token_id for output in whole[:cut] for token_id in output.token_ids)
    assert len(answered) == cut
    rest = await _all(engine.generate(replace(request, answered_token_ids=answered)))
    assert [(item.pieces, item.token_ids, item.finish_reason) for item in rest] == [
        (item.pieces, item.token_ids, item.finish_reason) for item in whole[cut:]
    ]


async def test_load_counts_a_request_and_returns_to_zero(slow_engine: Engine, ask: Ask) -> None:
    engine = slow_engine
    assert engine.load().running == engine.load().waiting == 0
    async with aclosing(engine.generate(ask.long())) as outputs:
        await anext(outputs)
        assert engine.load().running == 1
    load = await _reach(engine, 0)
    assert (load.running, load.waiting, load.kv_tokens) == (0, 0, 0)


async def test_closing_frees_the_slot(make_engine: MakeEngine, ask: Ask) -> None:
    engine = await make_engine(max_batch_size=1, max_queued_requests=1, echo_delay_ms=50)
    for _ in range(5):
        async with aclosing(engine.generate(ask.long())) as outputs:
            await anext(outputs)
    await _reach(engine, 0)
    assert await _text(engine, ask())


async def test_cancelling_the_reader_frees_the_slot(slow_engine: Engine, ask: Ask) -> None:
    readers = [asyncio.create_task(_all(slow_engine.generate(ask.long()))) for _ in range(3)]
    await _reach(slow_engine, 3)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await _reach(slow_engine, 0)


async def test_a_full_queue_is_overloaded_and_the_others_go_on(make_engine: MakeEngine, ask: Ask) -> None:
    engine = await make_engine(max_batch_size=1, max_queued_requests=1, echo_delay_ms=50)
    running = engine.generate(ask.long("a"))
    await anext(running)
    waiting = asyncio.create_task(_text(engine, ask(max_tokens=4, request_id="b")))
    await _reach(engine, 2)
    with pytest.raises(Overloaded) as caught:
        await anext(engine.generate(ask(request_id="c")))
    assert caught.value.retry_after_s > 0
    await running.aclose()
    assert await waiting
    assert await _text(engine, ask(max_tokens=4, request_id="d"))


async def test_a_started_engine_is_healthy(engine: Engine) -> None:
    await engine.check_health()


async def test_many_requests_all_end(engine: Engine, ask: Ask) -> None:
    texts = await asyncio.gather(*(_text(engine, ask(max_tokens=4, request_id=str(n))) for n in range(40)))
    assert len(set(texts)) == 1
    await _reach(engine, 0)


async def test_stopping_ends_every_request(make_engine: MakeEngine, ask: Ask) -> None:
    """That which runs, and that which waits."""
    engine = await make_engine(max_batch_size=1, max_queued_requests=1, echo_delay_ms=50)
    running = engine.generate(ask.long("a"))
    await anext(running)
    readers = [asyncio.create_task(_all(outputs)) for outputs in (running, engine.generate(ask.long("b")))]
    await _reach(engine, 2)
    await engine.stop()
    async with asyncio.timeout(5):
        results = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(result) for result in results] == [ReplicaLost, ReplicaLost]


async def test_a_stopped_engine_takes_no_requests_and_may_be_stopped_again(engine: Engine, ask: Ask) -> None:
    await engine.stop()
    with pytest.raises(Unavailable):
        await anext(engine.generate(ask()))
    await engine.stop()
