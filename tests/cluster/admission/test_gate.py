"""Laws of a variant's gate: never more than its slots, no slot lost or given twice, and refusals that say when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

import pytest

from cluster.admission.gate import Entrant, Gate, slots_per_replica
from cluster.admission.slot import Slot
from cluster.admission.standing import Standing
from cluster.admission.ticket import Ticket
from cluster.config import ReplicasConfig, VariantConfig
from cluster.errors import DeadlineTooShort, Overloaded

T = TypeVar("T")


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _config(slots: int, queued: int) -> VariantConfig:
    """A replica with that many slots: its batch, and one more to keep it full."""
    return VariantConfig(engine="echo", max_batch_size=slots - 1, max_queued_requests=queued)


def _gate(slots: int = 2, queued: int = 8, clock: Clock | None = None) -> Gate:
    return Gate("e2b", _config(slots, queued), 0.125, clock or Clock())


async def _settled(tasks: int = 20) -> None:
    for _ in range(tasks):
        await asyncio.sleep(0)


def _ask(gate: Gate, caller: str = "a", **options: object) -> asyncio.Task[Slot]:
    return asyncio.create_task(gate.enter(Entrant(caller, **options)))  # type: ignore[arg-type]


async def _full(gate: Gate, clock: Clock, slots: int = 2, ran_s: float = 4.0) -> list[Slot]:
    """All slots taken, after a request that ran so long."""
    first = await gate.enter(Entrant("x"))
    clock.now += ran_s
    first.leave(1.0, clock.now)
    return [await gate.enter(Entrant("x")) for _ in range(slots)]


async def _error(awaitable: Awaitable[T]) -> Overloaded:
    with pytest.raises(Overloaded) as caught:
        await awaitable
    return caught.value


async def test_slots_are_given_at_once_and_the_next_waits_for_one() -> None:
    gate = _gate(slots=2)
    first, _ = await gate.enter(Entrant("a")), await gate.enter(Entrant("a"))
    third = _ask(gate)
    await _settled()
    assert not third.done()
    assert (gate.in_flight, gate.waiting) == (3, 1)
    first.leave(1.0, 0.0)
    assert await third
    assert (gate.in_flight, gate.waiting) == (2, 0)


async def test_a_slot_given_back_twice_is_given_back_once() -> None:
    gate = _gate(slots=2)
    slot, _ = await gate.enter(Entrant("a")), await gate.enter(Entrant("a"))
    waiting = [_ask(gate) for _ in range(2)]
    await _settled()
    slot.leave(1.0, 0.0)
    slot.leave(1.0, 0.0)
    await _settled()
    assert [task.done() for task in waiting] == [True, False]
    waiting[1].cancel()


async def test_more_replicas_let_more_in_at_once() -> None:
    gate = _gate(slots=2)
    waiting = [_ask(gate) for _ in range(5)]
    await _settled()
    gate.resize(2)
    await _settled()
    assert [task.done() for task in waiting] == [True] * 4 + [False]
    waiting[4].cancel()


async def test_a_variant_without_replicas_lets_one_through_to_call_one_up() -> None:
    gate, heard = _gate(slots=3), []
    gate.on_hold = lambda: heard.append(gate.in_flight)
    gate.resize(0)
    scout = await gate.enter(Entrant("a"))
    others = [_ask(gate) for _ in range(3)]
    await _settled()
    assert (gate.in_flight, gate.waiting, len(heard)) == (4, 3, 4)
    scout.leave(1.0, 0.0)  # its caller went: the next one calls
    await _settled()
    assert [task.done() for task in others] == [True, False, False]
    for task in others[1:]:
        task.cancel()


async def test_those_held_for_a_replica_start_together_once_it_answers_and_callers_take_turns() -> None:
    gate = _gate(slots=3, queued=8)
    gate.resize(0)
    scout = await gate.enter(Entrant("a"))
    greedy, other = [_ask(gate, "a") for _ in range(4)], _ask(gate, "b")
    await _settled()
    scout.began(0.0)
    await _settled()
    assert other.done()
    assert [task.done() for task in greedy] == [True, False, False, False]
    for task in greedy[1:]:
        task.cancel()


async def test_a_queue_is_bounded_while_there_is_no_replica() -> None:
    gate = _gate(slots=2, queued=2)
    gate.resize(0, 40.0)
    waiting = [_ask(gate) for _ in range(3)]
    await _settled()
    error = await _error(gate.enter(Entrant("a")))
    assert error.retry_after_s == 41.0  # once there is one, and a second as nothing is known
    for task in waiting:
        task.cancel()


async def test_a_replicas_start_is_no_measure_of_how_fast_requests_end() -> None:
    clock = Clock()
    gate = _gate(slots=2, clock=clock)
    gate.resize(0)
    scout, waiting = await gate.enter(Entrant("a")), _ask(gate)
    await _settled()
    clock.now += 60.0
    scout.began(clock.now)
    clock.now += 1.0
    scout.leave(1.0, clock.now)
    assert gate.request_s == pytest.approx(1.0)
    assert gate._rate.first_token_s == 0.0
    assert await waiting


async def test_standing_tells_what_a_request_waits_for_and_how_long() -> None:
    clock, tickets = Clock(), list[Ticket]()
    gate = _gate(slots=2, clock=clock)
    (await gate.enter(Entrant("a"))).leave(1.0, clock.now + 4.0)
    gate.resize(0, 30.0)
    tasks = [asyncio.create_task(gate.enter(Entrant("a"), tickets.append)) for _ in range(4)]
    await _settled()
    # A replica takes two at once, and each takes 4 s.
    assert list(map(gate.standing, tickets)) == [
        Standing(is_starting=True, ahead=ahead, wait_s=wait_s) for ahead, wait_s in [(0, 30), (0, 30), (1, 30), (2, 32)]
    ]
    gate.resize(1)
    await _settled()
    assert [gate.standing(ticket) for ticket in tickets] == [
        None,
        None,
        Standing(is_starting=False, ahead=0, wait_s=2.0),
        Standing(is_starting=False, ahead=1, wait_s=4.0),
    ]
    for task in tasks:
        task.cancel()


async def test_nothing_measured_is_no_estimate() -> None:
    tickets: list[Ticket] = []
    gate = _gate()
    gate.resize(0)
    await gate.enter(Entrant("a"), tickets.append)
    assert gate.standing(tickets[0]) == Standing(is_starting=True, ahead=0, wait_s=None)


async def test_a_cancelled_request_leaves_the_queue() -> None:
    gate = _gate(slots=2)
    held = [await gate.enter(Entrant("a")) for _ in range(2)]
    gone, stays = _ask(gate), _ask(gate)
    await _settled()
    gone.cancel()
    await _settled()
    assert gate.waiting == 1
    held[0].leave(1.0, 0.0)
    assert await stays


async def test_a_turn_that_comes_as_its_request_is_cancelled_goes_to_the_next() -> None:
    gate = _gate(slots=2)
    held = [await gate.enter(Entrant("a")) for _ in range(2)]
    gone, stays = _ask(gate), _ask(gate)
    await _settled()
    held[0].leave(1.0, 0.0)
    gone.cancel()  # its turn is set, but its task has not run yet
    assert await asyncio.wait_for(stays, 1)
    with suppress(asyncio.CancelledError):
        await gone
    assert gate.in_flight == 2


async def test_a_full_queue_refuses_with_the_time_that_a_place_takes() -> None:
    clock = Clock()
    gate = _gate(slots=2, queued=1, clock=clock)
    await _full(gate, clock, ran_s=4.0)
    waiting = _ask(gate)
    await _settled()
    errors = [await _error(gate.enter(Entrant("a"))) for _ in range(3)]
    assert [error.retry_after_s for error in errors] == pytest.approx([2.0, 4.0, 6.0])  # 2 slots, 4 s each
    assert "e2b is busy, and its queue of 1 is full" in str(errors[0])
    waiting.cancel()


async def test_one_callers_flood_gives_way_to_another_caller() -> None:
    clock = Clock()
    gate = _gate(slots=2, queued=3, clock=clock)
    await _full(gate, clock)
    flood = [_ask(gate, "a") for _ in range(3)]
    await _settled()
    other = _ask(gate, "b")
    await _settled()
    assert [task.done() for task in flood] == [False, False, True]
    assert (await _error(flood[2])).retry_after_s > 0
    assert not other.done()
    for task in (*flood, other):
        task.cancel()


async def test_a_variant_without_a_queue_refuses_what_it_cannot_run() -> None:
    gate = Gate("e2b", VariantConfig(engine="echo", max_batch_size=2, max_queued_requests=0), 0.125, Clock())
    for _ in range(2):
        await gate.enter(Entrant("a"))
    await _error(gate.enter(Entrant("b")))
    assert gate.waiting == 0


async def test_a_deadline_before_the_expected_turn_is_refused_at_once() -> None:
    clock = Clock()
    gate = _gate(slots=2, clock=clock)
    await _full(gate, clock, ran_s=4.0)
    waiting = [_ask(gate) for _ in range(2)]
    await _settled()
    error = await asyncio.wait_for(_error(gate.enter(Entrant("a", deadline=clock.now + 5.0))), 1)
    assert isinstance(error, DeadlineTooShort)
    assert error.retry_after_s == pytest.approx(1.0)  # third in the queue of 2 slots, 4 s each
    assert "in about 6.0 s, and its deadline passes in 5.0 s" in str(error)
    assert gate.waiting == 2
    for task in waiting:
        task.cancel()


async def test_a_deadline_that_the_turn_can_meet_waits_for_it() -> None:
    clock = Clock()
    gate = _gate(slots=2, clock=clock)
    held = await _full(gate, clock, ran_s=4.0)
    asked = _ask(gate, deadline=clock.now + 5.0)
    await _settled()
    held[0].leave(1.0, clock.now)
    assert await asked


async def test_a_request_whose_deadline_comes_too_near_in_the_queue_is_refused_before_it_passes() -> None:
    clock = Clock()
    gate = _gate(slots=2, clock=clock)
    await _full(gate, clock, ran_s=0.01)
    gate.began(0.2)
    asked = _ask(gate, deadline=clock.now + 0.25)
    started = asyncio.get_running_loop().time()
    assert isinstance(await _error(asked), DeadlineTooShort)
    assert 0.03 < asyncio.get_running_loop().time() - started < 0.2
    assert gate.waiting == 0


async def test_before_anything_is_known_no_deadline_is_refused() -> None:
    gate = _gate(slots=2)
    held = [await gate.enter(Entrant("a")) for _ in range(2)]
    asked = _ask(gate, deadline=1000.5)
    await _settled()
    held[0].leave(1.0, 1000.0)
    assert await asked


@pytest.mark.parametrize(
    ("batch", "queued", "least", "most", "target", "slots"),
    [
        (16, 64, 1, 1, 8, 18),
        (4, 64, 1, 1, 8, 5),
        (4, 0, 1, 1, 8, 4),
        (16, 64, 1, 4, 8, 18),
        (16, 64, 1, 4, 20, 40),
        (4, 2, 0, 4, 20, 6),
    ],
)
def test_a_replica_gets_its_batch_and_a_few_more(
    batch: int, queued: int, least: int, most: int, target: int, slots: int
) -> None:
    replicas = ReplicasConfig(min=least, max=most, target_ongoing_requests=target)
    config = VariantConfig(engine="echo", max_batch_size=batch, max_queued_requests=queued, replicas=replicas)
    assert slots_per_replica(config) == slots


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_happens_each_slot_is_given_back_exactly_once(seed: int) -> None:
    """Callers come, are cancelled, run out of time, fail and end at any moment; replicas come and go."""
    moments = random.Random(seed)
    slots, queued, running, worst = moments.randrange(2, 5), moments.randrange(1, 6), 0, 0
    gate = Gate("e2b", _config(slots, queued), 0.125)

    async def call(number: int) -> None:
        nonlocal running, worst
        caller, priority = f"caller{number % 3}", "batch" if number % 4 == 0 else "interactive"
        deadline = asyncio.get_running_loop().time() + moments.uniform(0, 0.01) if number % 5 == 0 else None
        slot = await gate.enter(Entrant(caller, priority, cost=1 + number % 7, deadline=deadline))  # type: ignore[arg-type]
        running += 1
        worst = max(worst, running)
        try:
            for _ in range(moments.randrange(6)):
                await asyncio.sleep(0)
            if moments.random() < 0.3:
                raise ValueError("the answer failed")
        finally:
            running -= 1
            slot.leave(1.0, asyncio.get_running_loop().time())

    tasks = []
    for number in range(60):
        tasks.append(asyncio.create_task(call(number)))
        for _ in range(moments.randrange(3)):
            await asyncio.sleep(0)
        if moments.random() < 0.3:
            moments.choice(tasks).cancel()
        if moments.random() < 0.1:
            gate.resize(moments.randrange(3))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} <= {
        type(None),
        ValueError,
        Overloaded,
        DeadlineTooShort,
        asyncio.CancelledError,
    }
    assert worst <= 2 * slots
    assert (gate.in_flight, gate.waiting) == (0, 0)
    gate.resize(1)
    for _ in range(slots):
        await asyncio.wait_for(gate.enter(Entrant("after")), 1)
    assert gate.waiting == 0
