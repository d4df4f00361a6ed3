"""The engine loop: requests join and leave, end as asked, never disturb each other, and leave nothing behind."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from model.runtime.config import RuntimeConfig
from model.runtime.loop import EngineLoop
from model.runtime.output import RuntimeStats, TokenOutput
from model.runtime.sampling import SamplingParams
from model.runtime.scheduler import Plan, QueueFullError
from model.tiny import ensure_tiny
from model.tokenizer import Tokenizer
from tests.model.conftest import VARIANT_NAMES
from tests.model.runtime.conftest import EOS_ID, MakeToy, StartLoop, random_prompt
from tests.model.runtime.driver import TIMEOUT_S, Gathered, generate, greedy, submit

LONG = greedy(200)


def wait_until(loop: EngineLoop, is_reached: Callable[[RuntimeStats], bool]) -> RuntimeStats:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_reached(stats := loop.stats()):
        assert time.monotonic() < deadline, stats
        time.sleep(0.001)
    return stats


def test_a_request_ends_after_max_tokens(start_loop: StartLoop) -> None:
    answer = submit(start_loop(), "a", random_prompt(1, 5), greedy(7)).wait()
    assert len(answer.tokens) == 7
    assert answer.last.finish_reason == "length"
    assert [output.finish_reason for output in answer.outputs[:-1]] == [None] * 6
    assert {output.request_id for output in answer.outputs} == {"a"}


def test_the_text_is_that_of_the_tokens(start_loop: StartLoop, tokenizer: Tokenizer) -> None:
    answer = submit(start_loop(), "a", random_prompt(2, 5), greedy(60)).wait()
    assert answer.text == tokenizer.decode(answer.tokens)


def test_the_context_ends_an_answer(start_loop: StartLoop) -> None:
    answer = submit(start_loop(max_context=30), "a", random_prompt(1, 20), LONG).wait()
    assert len(answer.tokens) == 10
    assert answer.last.finish_reason == "length"


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_tokens_are_the_same_alone_and_in_any_batch(start_loop: StartLoop, variant: str) -> None:
    loop = start_loop(variant, max_batch_size=6, prefill_tokens=24)
    prompts = [random_prompt(i, length) for i, length in enumerate((3, 50, 17, 1, 30, 8, 25, 40, 2))]
    params = [
        SamplingParams(20 + i, temperature=i % 3 / 2, top_k=[None, 40][i % 2], top_p=[0.9, None][i % 2], seed=i)
        for i in range(len(prompts))
    ]
    alone = [generate(loop, [prompt], [param])[0].tokens for prompt, param in zip(prompts, params, strict=True)]
    together = [answer.tokens for answer in generate(loop, prompts, params)]
    backwards = [answer.tokens for answer in generate(loop, prompts[::-1], params[::-1])]
    assert together == alone
    assert backwards[::-1] == alone


def test_tokens_are_the_same_when_the_cache_preempts(start_loop: StartLoop) -> None:
    prompts = [random_prompt(i, 10 + i) for i in range(6)]
    params = [SamplingParams(40, seed=i, ignore_eos=True) for i in range(6)]
    ample = start_loop(max_batch_size=6, max_context=64)
    tight = start_loop(max_batch_size=6, max_context=64, kv_token_budget=128)
    expected = [answer.tokens for answer in generate(ample, prompts, params)]
    assert [answer.tokens for answer in generate(tight, prompts, params)] == expected
    assert tight.stats().preemptions > 0
    assert ample.stats().preemptions == 0


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_the_next_turn_computes_only_what_is_new_and_answers_the_same(start_loop: StartLoop, variant: str) -> None:
    loop, plain = start_loop(variant), start_loop(variant, has_prefix_cache=False)
    first = random_prompt(1, 90)
    answer = submit(loop, "a", first, greedy(20)).wait().tokens
    second = first + answer + random_prompt(2, 7)
    computed = loop.stats().prompt_tokens
    again = submit(loop, "b", second, greedy(30)).wait().tokens
    # Of 117 tokens the last 7 are new, the one before was drawn but not computed, and pages have 16.
    assert loop.stats().prompt_tokens - computed == 117 - 96
    assert again == submit(plain, "b", second, greedy(30)).wait().tokens
    assert plain.stats().reused_prompt_tokens == 0


def test_what_was_preempted_is_not_computed_twice_while_its_pages_last(start_loop: StartLoop) -> None:
    loop = start_loop(max_batch_size=2, max_context=128, kv_token_budget=160)
    generate(loop, [random_prompt(i, 60) for i in range(2)], [greedy(60)] * 2)
    stats = loop.stats()
    assert stats.preemptions > 0
    assert stats.prompt_tokens < 120 + stats.preemptions * 60
    assert stats.reused_prompt_tokens > 0


def test_a_long_prompt_does_not_stall_a_running_answer(start_loop: StartLoop) -> None:
    """Many tokens come between its arrival and its first token: its chunks fit a time, not a number of tokens."""
    loop = start_loop(max_context=4096, prefill_tokens=4096, max_pass_s=0.02)
    running = submit(loop, "running", random_prompt(1, 300), greedy(3000))
    assert running.has_begun.wait(TIMEOUT_S)
    before = len(running.outputs)
    submit(loop, "long", random_prompt(2, 3500), greedy(1)).wait()
    assert len(running.outputs) - before >= 5
    loop.abort("running")


def test_a_request_joins_a_running_batch(start_loop: StartLoop) -> None:
    loop = start_loop(max_context=512)
    first = submit(loop, "a", random_prompt(1, 5), greedy(400))
    assert first.has_begun.wait(TIMEOUT_S)
    second = submit(loop, "b", random_prompt(2, 5), greedy(5)).wait()
    assert len(second.tokens) == 5
    assert not first.is_finished.is_set()
    assert len(first.wait().tokens) == 400


def test_a_seed_makes_an_answer_repeatable(start_loop: StartLoop) -> None:
    loop = start_loop()
    prompt = random_prompt(3, 6)
    seeds = [1, 1, 2, None, None]
    answers = generate(loop, [prompt] * 5, [SamplingParams(24, seed=seed, ignore_eos=True) for seed in seeds])
    one, again, two, free, other = [answer.tokens for answer in answers]
    assert one == again
    assert len({tuple(tokens) for tokens in (one, two, free, other)}) == 4


def test_an_end_token_ends_an_answer_unless_ignored(
    start_loop: StartLoop, make_toy: MakeToy, tokenizer: Tokenizer
) -> None:
    prompt = random_prompt(4, 9)
    free = submit(start_loop(), "free", prompt, greedy(30)).wait().tokens
    end = free[10]
    config = RuntimeConfig(max_context=256, num_threads=1)
    with EngineLoop(make_toy("e2b").model, tokenizer, config, eos_token_ids=(end,)) as loop:
        answer = submit(loop, "a", prompt, SamplingParams(30, temperature=0)).wait()
        ignored = submit(loop, "b", prompt, greedy(30)).wait()
    assert answer.tokens == free[: free.index(end) + 1]
    assert answer.last.finish_reason == "stop"
    assert answer.last.stop_text is None
    assert ignored.tokens == free


def test_a_stop_string_ends_an_answer_and_is_never_shown(start_loop: StartLoop) -> None:
    loop = start_loop()
    prompt = random_prompt(2, 5)
    whole = submit(loop, "whole", prompt, greedy(60)).wait().text
    for start in range(4, 24, 4):
        stop = whole[start : start + 5]
        params = SamplingParams(60, temperature=0, stop=("never there", stop), ignore_eos=True)
        answer = submit(loop, f"stop {start}", prompt, params).wait()
        assert answer.text == whole[: whole.index(stop)]
        assert (answer.last.finish_reason, answer.last.stop_text) == ("stop", stop)
        assert len(answer.tokens) <= 60


def test_aborting_a_running_request_frees_its_row(start_loop: StartLoop) -> None:
    loop = start_loop(max_batch_size=1, max_context=4096)
    running = submit(loop, "a", random_prompt(1, 5), greedy(4000))
    waiting = submit(loop, "b", random_prompt(2, 5), greedy(3))
    assert running.has_begun.wait(TIMEOUT_S)
    steps = loop.stats().steps
    loop.abort("a")
    assert running.wait().last.finish_reason == "abort"
    assert loop.stats().steps - steps <= 2
    assert waiting.wait().last.finish_reason == "length"
    assert_empty(loop)


def test_aborting_a_waiting_request_takes_it_out_of_the_queue(start_loop: StartLoop) -> None:
    loop = start_loop(max_batch_size=1, max_context=4096)
    running = submit(loop, "a", random_prompt(1, 5), greedy(4000))
    waiting = submit(loop, "b", random_prompt(2, 5), LONG)
    loop.abort("b")
    assert waiting.wait().last == TokenOutput("b", (), (), "abort")
    assert not running.is_finished.is_set()
    assert loop.stats().waiting == 0
    loop.abort("a")
    running.wait()


def test_aborting_what_has_ended_or_never_was_does_nothing(start_loop: StartLoop) -> None:
    loop = start_loop()
    answer = submit(loop, "a", random_prompt(1, 5), greedy(2)).wait()
    loop.abort("a")
    loop.abort("unknown")
    assert len(answer.tokens) == 2
    assert len(submit(loop, "a", random_prompt(1, 5), greedy(3)).wait().tokens) == 3


@pytest.mark.parametrize(
    ("prompt", "words"),
    [([], "empty"), ([5] * 256, "256 tokens leave no room in a context of 256"), ([300], "0..299"), ([-1], "0..299")],
)
def test_a_prompt_that_cannot_be_served_is_refused_at_once(
    start_loop: StartLoop, prompt: list[int], words: str
) -> None:
    loop = start_loop()
    with pytest.raises(ValueError, match=words):
        loop.submit("a", prompt, greedy(1), Gathered())
    assert_empty(loop)


def test_a_request_id_in_use_is_refused(start_loop: StartLoop) -> None:
    loop = start_loop()
    submit(loop, "a", random_prompt(1, 5), LONG)
    with pytest.raises(ValueError, match="'a' is in use"):
        loop.submit("a", [5], greedy(1), Gathered())


def test_a_full_queue_refuses(start_loop: StartLoop) -> None:
    loop = start_loop(max_batch_size=1, max_waiting=2, max_context=4096)
    running = submit(loop, "running", random_prompt(1, 5), greedy(4000))
    assert running.has_begun.wait(TIMEOUT_S)
    submit(loop, "w1", [5], LONG)
    submit(loop, "w2", [5], LONG)
    with pytest.raises(QueueFullError):
        loop.submit("w3", [5], LONG, Gathered())
    assert loop.stats().waiting == 2


def test_stopping_aborts_what_is_left_and_refuses_what_comes(start_loop: StartLoop) -> None:
    loop = start_loop(max_batch_size=1, max_context=4096)
    answers = [submit(loop, name, random_prompt(1, 5), greedy(4000)) for name in "ab"]
    loop.stop()
    loop.stop()
    assert [answer.wait().last.finish_reason for answer in answers] == ["abort", "abort"]
    with pytest.raises(RuntimeError, match="stopped"):
        loop.submit("c", [5], greedy(1), Gathered())
    assert not any(thread is loop._thread for thread in threading.enumerate())


def test_a_context_beyond_the_model_is_refused(start_loop: StartLoop) -> None:
    with pytest.raises(ValueError, match="max_context 5000 is beyond the model's 4096"):
        start_loop(max_context=5000)


class Failing:
    """Stands before the runner and fails some passes."""

    def __init__(self, loop: EngineLoop, fails: Callable[[Plan], bool]) -> None:
        self._run, self._fails = loop._runner.run, fails
        self.error = MemoryError("no room for this pass")

    def __call__(self, plan: Plan) -> list[int]:
        if self._fails(plan):
            raise self.error
        return self._run(plan)


def test_a_failing_prompt_ends_alone(start_loop: StartLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = start_loop()
    expected = submit(loop, "expected", random_prompt(1, 5), greedy(60)).wait().tokens
    failing = Failing(loop, lambda plan: any(chunk.sequence.request_id == "bad" for chunk in plan.chunks))
    monkeypatch.setattr(loop._runner, "run", failing)
    good = submit(loop, "good", random_prompt(1, 5), greedy(60))
    assert good.has_begun.wait(TIMEOUT_S)
    bad = submit(loop, "bad", random_prompt(2, 5), greedy(60)).wait()
    assert bad.last == TokenOutput("bad", (), (), "error", error=failing.error)
    assert good.wait().tokens == expected
    assert_empty(loop)


def test_a_failing_pass_of_running_answers_ends_them_and_the_loop_goes_on(
    start_loop: StartLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = start_loop()
    with monkeypatch.context() as patch:
        patch.setattr(loop._runner, "run", Failing(loop, lambda plan: not plan.chunks))
        answers = [submit(loop, name, random_prompt(1, 5), greedy(9)) for name in "ab"]
        assert [answer.wait().last.finish_reason for answer in answers] == ["error", "error"]
    assert len(submit(loop, "c", random_prompt(1, 5), greedy(9)).wait().tokens) == 9
    assert_empty(loop)


def test_a_defect_of_the_loop_itself_leaves_nobody_waiting(
    start_loop: StartLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = start_loop()

    def defect(*, others_decode: bool) -> Plan:
        raise AssertionError("a defect")

    monkeypatch.setattr(loop._scheduler, "schedule", defect)
    answer = submit(loop, "a", [5], greedy(1)).wait()
    assert isinstance(answer.last.error, AssertionError)
    with pytest.raises(RuntimeError, match="stopped"):
        loop.submit("b", [5], greedy(1), Gathered())


def test_a_failing_callback_aborts_its_request_alone(start_loop: StartLoop) -> None:
    loop = start_loop(max_context=4096)

    def fail(_output: TokenOutput) -> None:
        raise ConnectionError("the client is gone")

    loop.submit("gone", random_prompt(1, 5), greedy(4000), fail)
    assert len(submit(loop, "stays", random_prompt(2, 5), greedy(30)).wait().tokens) == 30
    wait_until(loop, lambda stats: stats.running == 0)


def test_statistics_count_what_happens(start_loop: StartLoop) -> None:
    loop = start_loop(max_batch_size=2, max_context=256, kv_token_budget=400)
    assert loop.stats() == RuntimeStats(0, 0, 0, 400, 0, 0, 0, 0, 0, 0)
    generate(loop, [random_prompt(1, 20), random_prompt(2, 30)], [greedy(5)] * 2)
    stats = loop.stats()
    assert (stats.prompt_tokens, stats.generated_tokens, stats.kv_tokens_used) == (50, 10, 0)
    assert stats.kv_bytes > 0


def test_memory_of_the_cache_stays_within_its_bound(start_loop: StartLoop) -> None:
    loop = start_loop(max_batch_size=4, max_context=256, kv_token_budget=512)
    generate(loop, [random_prompt(i, 200 - 40 * i) for i in range(5)], [greedy(30)] * 5)
    stores = loop._cache.layers.values()
    bytes_per_token = sum(4 * store.kv_S2KE[0].numel() for store in stores)
    assert loop.stats().kv_bytes <= 512 * bytes_per_token


@pytest.mark.parametrize("seed", range(3))
def test_rows_never_leak_over_random_lives(start_loop: StartLoop, seed: int) -> None:
    chosen = random.Random(seed)
    loop = start_loop(max_batch_size=3, kv_token_budget=300, prefill_tokens=32)
    answers = []
    for number in range(120):
        prompt, params = random_prompt(number, chosen.randint(1, 60)), greedy(chosen.randint(1, 40))
        answers.append(submit(loop, str(number), prompt, params))
        if chosen.random() < 0.5:
            loop.abort(str(chosen.randint(0, number)))
        if chosen.random() < 0.1:
            time.sleep(0.01)
    for answer in answers:
        assert answer.wait().last.finish_reason in ("length", "abort")
    assert_empty(loop)


def test_requests_come_from_many_threads(start_loop: StartLoop) -> None:
    loop = start_loop()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: submit(loop, str(i), random_prompt(i, 4), greedy(6)).wait(), range(40)))
    assert all(len(answer.tokens) == 6 for answer in answers)
    assert_empty(loop)


def test_a_loop_starts_from_a_checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = ensure_tiny("26b-a4b", tmp_path_factory.mktemp("tiny"))
    with EngineLoop.from_checkpoint(path, RuntimeConfig(num_threads=1)) as loop:
        assert loop._eos_ids == {1, EOS_ID, 50}
        assert len(submit(loop, "a", [2, 105, 80], greedy(5)).wait().tokens) == 5


def test_the_number_of_threads_is_the_loops_own(start_loop: StartLoop) -> None:
    before = torch.get_num_threads()
    loop = start_loop(num_threads=2)
    submit(loop, "a", [5], greedy(2)).wait()
    assert torch.get_num_threads() == before


def assert_empty(loop: EngineLoop) -> None:
    stats = wait_until(loop, lambda stats: stats.running == 0)
    assert (stats.waiting, stats.kv_tokens_used) == (0, 0)
    assert not loop._requests
