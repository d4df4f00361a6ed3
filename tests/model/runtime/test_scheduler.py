"""The scheduler: first come first served, bounded passes, and no page or token lost over random lives."""

import random

import pytest
import torch

from model.runtime.config import RuntimeConfig
from model.runtime.kv_cache import PagedCache
from model.runtime.sampling import SamplingParams
from model.runtime.scheduler import Plan, QueueFullError, Scheduler
from model.runtime.sequence import Sequence
from model.tiny import TINY_VARIANTS


def make_scheduler(**limits: int) -> Scheduler:
    config = RuntimeConfig(**{"max_batch_size": 3, "max_context": 100, "prefill_tokens": 16, "page_size": 1} | limits)
    return Scheduler(config, PagedCache(TINY_VARIANTS["e2b"].text, config, torch.float32, torch.device("cpu")))


def add(scheduler: Scheduler, name: str, length: int) -> Sequence:
    # Every prompt is another, so that none reuses a page.
    number = 1 + sum(map(ord, name))
    sequence = Sequence(name, [number] * length, SamplingParams(10))
    scheduler.add(sequence)
    return sequence


def carry_out(scheduler: Scheduler, plan: Plan) -> None:
    """What the loop does once a pass has been computed."""
    drawing = plan.drawing
    scheduler.count(plan, seconds=0)
    for sequence in drawing:
        sequence.tokens.append(8)


def step(scheduler: Scheduler) -> Plan:
    plan = scheduler.schedule()
    described = Plan(list(plan.decodes), list(plan.chunks))
    carry_out(scheduler, plan)
    return described


def names(plan: Plan) -> tuple[list[str], list[tuple[str, int]]]:
    return (
        [sequence.request_id for sequence in plan.decodes],
        [(chunk.sequence.request_id, chunk.size) for chunk in plan.chunks],
    )


def test_an_idle_scheduler_plans_nothing() -> None:
    assert make_scheduler().schedule().is_empty


def test_prompts_share_a_pass_and_long_ones_are_cut() -> None:
    scheduler = make_scheduler()
    for name, length in (("a", 5), ("b", 30), ("c", 4)):
        add(scheduler, name, length)
    assert names(step(scheduler)) == ([], [("a", 5), ("b", 11)])
    assert names(step(scheduler)) == (["a"], [("b", 16)])
    assert names(step(scheduler)) == (["a"], [("b", 3), ("c", 4)])
    assert names(step(scheduler)) == (["a", "b", "c"], [])


def test_requests_wait_in_order_for_a_row() -> None:
    scheduler = make_scheduler(max_batch_size=2)
    first, *_ = [add(scheduler, name, 2) for name in "abcd"]
    step(scheduler)
    assert [sequence.request_id for sequence in scheduler.waiting] == ["c", "d"]
    scheduler.remove([first])
    assert names(step(scheduler)) == (["b"], [("c", 2)])


def test_a_waiting_request_can_be_taken_out() -> None:
    scheduler = make_scheduler(max_batch_size=1)
    add(scheduler, "a", 2)
    waiting = add(scheduler, "b", 2)
    step(scheduler)
    scheduler.remove([waiting])
    assert not scheduler.waiting


def test_a_full_queue_refuses() -> None:
    scheduler = make_scheduler(max_waiting=2)
    add(scheduler, "a", 2)
    add(scheduler, "b", 2)
    with pytest.raises(QueueFullError, match="2 requests"):
        add(scheduler, "c", 2)


def test_the_newest_is_preempted_when_the_cache_is_full_and_comes_back() -> None:
    scheduler = make_scheduler(max_batch_size=2, max_context=20, kv_token_budget=24, prefill_tokens=32)
    old, new = add(scheduler, "old", 11), add(scheduler, "new", 11)
    step(scheduler)
    assert names(step(scheduler)) == (["old", "new"], [])
    assert names(step(scheduler)) == (["old"], [])  # 13 tokens each would be 26
    assert scheduler.num_preemptions == 1
    assert list(scheduler.waiting) == [new]
    scheduler.remove([old])
    # One page went to the old one's last token; the others are still there.
    assert names(step(scheduler)) == ([], [("new", 2)])
    assert (new.num_reused, scheduler.num_reused_tokens) == (0, 11)


def test_a_prompt_that_begins_like_another_computes_only_the_rest() -> None:
    scheduler = make_scheduler(page_size=4)
    first = add(scheduler, "a", 14)
    step(scheduler)
    second = Sequence("b", [*first.tokens[:10], 1, 2, 3], SamplingParams(10))
    scheduler.add(second)
    assert names(step(scheduler)) == (["a"], [("b", 5)])
    assert second.num_reused == 8


def test_without_a_prefix_cache_every_prompt_is_computed_whole() -> None:
    scheduler = make_scheduler(has_prefix_cache=False)
    for name in "aa":
        add(scheduler, name, 6)
    assert names(step(scheduler)) == ([], [("a", 6), ("a", 6)])


def test_one_sequence_may_always_use_the_whole_context() -> None:
    scheduler = make_scheduler(max_batch_size=3, max_context=100, kv_token_budget=100)
    only = add(scheduler, "a", 99)
    for _ in range(7):
        step(scheduler)
    assert only.num_cached == 99
    assert scheduler.num_preemptions == 0


@pytest.mark.parametrize("seed", range(6))
def test_over_random_lives_no_sequence_and_no_page_is_lost(seed: int) -> None:
    chosen = random.Random(seed)
    scheduler = make_scheduler(max_batch_size=5, kv_token_budget=160, page_size=chosen.choice((1, 4, 16)))
    live: list[Sequence] = []
    for number in range(400):
        if chosen.random() < 0.4:
            live.append(add(scheduler, str(number), chosen.randint(1, 60)))
        check_plan(scheduler, scheduler.schedule())
        ending = [s for s in live if len(s.tokens) > 90 or chosen.random() < 0.08]
        scheduler.remove(ending)
        live = [sequence for sequence in live if sequence not in ending]
        assert sorted(s.request_id for s in live) == sorted(
            s.request_id for s in [*scheduler.waiting, *scheduler.running]
        )
    scheduler.remove(live)
    assert not scheduler.has_work
    for window in (None, 64):
        pool = scheduler._cache.group(window).pool
        assert pool.num_free == pool.num_pages


def check_plan(scheduler: Scheduler, plan: Plan) -> None:
    planned = [*plan.decodes, *(chunk.sequence for chunk in plan.chunks)]
    assert planned == scheduler.running
    assert len(planned) <= 5
    assert len({sequence.row for sequence in planned}) == len(planned)
    assert sum(chunk.size for chunk in plan.chunks) <= 16
    assert sum(-(-len(sequence.tokens) // 16) for sequence in planned) <= 160
    assert all(not chunk.is_last for chunk in plan.chunks[-1:]) or all(chunk.is_last for chunk in plan.chunks)
    carry_out(scheduler, plan)
