"""Laws of the queue: priority without starvation, fairness between callers, and who gives way when it is full."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from cluster.admission.fair_queue import FairQueue
from cluster.admission.ticket import Ticket
from cluster.request import Priority


def _ticket(caller: str, priority: Priority = "interactive", *, cost: float = 1.0, weight: float = 1.0) -> Ticket:
    return Ticket(caller, priority, weight, cost, asyncio.get_running_loop().create_future())


def _filled(*tickets: Ticket, batch_share: float = 0.125) -> FairQueue:
    queue = FairQueue(batch_share)
    for ticket in tickets:
        queue.push(ticket)
    return queue


def _order(queue: FairQueue) -> str:
    return "".join(queue.pop().caller for _ in range(len(queue)))


async def test_one_callers_requests_start_in_their_order() -> None:
    tickets = [_ticket("a") for _ in range(5)]
    queue = _filled(*tickets)
    assert [queue.pop() for _ in tickets] == tickets
    assert len(queue) == 0


async def test_callers_take_turns_however_many_each_sends() -> None:
    queue = _filled(*[_ticket("a") for _ in range(6)], _ticket("b"), _ticket("b"), _ticket("c"))
    assert _order(queue) == "abcabaaaa"


async def test_a_caller_of_twice_the_weight_starts_twice_as_often() -> None:
    queue = _filled(*[_ticket("a", weight=2) for _ in range(20)], *[_ticket("b") for _ in range(20)])
    assert Counter(queue.pop().caller for _ in range(15)) == {"a": 10, "b": 5}


async def test_what_counts_is_tokens_not_requests() -> None:
    queue = _filled(*[_ticket("a", cost=300) for _ in range(10)], *[_ticket("b", cost=100) for _ in range(10)])
    assert Counter(queue.pop().caller for _ in range(8)) == {"a": 2, "b": 6}


async def test_an_answer_longer_than_expected_is_charged_when_it_ends() -> None:
    first = _ticket("a")
    queue = _filled(first, *[_ticket("a") for _ in range(3)], *[_ticket("b") for _ in range(6)])
    assert queue.pop() is first
    queue.charge(first, 3)
    assert _order(queue) == "bbbbababa"


async def test_who_was_away_has_saved_up_nothing() -> None:
    queue = _filled(*[_ticket("a") for _ in range(12)])
    for _ in range(6):
        queue.pop()
    for _ in range(6):
        queue.push(_ticket("b"))
    assert _order(queue)[:6].count("b") in (3, 4)


async def test_a_caller_that_withdraws_is_not_charged() -> None:
    withdrawn = [_ticket("a") for _ in range(50)]
    queue = _filled(*withdrawn, *[_ticket("b") for _ in range(4)])
    assert all(queue.remove(ticket) for ticket in withdrawn)
    assert not queue.remove(withdrawn[0])
    queue.push(_ticket("a"))
    assert _order(queue).index("a") <= 1


async def test_interactive_goes_before_batch_but_for_batchs_share() -> None:
    queue = _filled(*[_ticket("b", "batch") for _ in range(8)], *[_ticket("i") for _ in range(24)], batch_share=0.25)
    assert _order(queue) == "iiib" * 8


@pytest.mark.parametrize("share", [0.1, 0.125, 0.3, 0.9])
async def test_batch_is_never_starved(share: float) -> None:
    queue = _filled(*[_ticket("b", "batch") for _ in range(1000)], batch_share=share)
    started = Counter[str]()
    for _ in range(1000):
        queue.push(_ticket("i"))  # there is always one more
        started[queue.pop().caller] += 1
    assert abs(started["b"] - 1000 * share) <= 1


async def test_alone_each_priority_gets_everything() -> None:
    for priority in ("interactive", "batch"):
        assert _order(_filled(*[_ticket("x", priority) for _ in range(3)])) == "xxx"


async def test_in_a_full_queue_whoever_has_most_gives_way() -> None:
    many, few = [_ticket("a") for _ in range(3)], _ticket("b")
    queue = _filled(*many, few)
    assert queue.loser(_ticket("b"), 4) is many[-1]
    assert queue.loser(_ticket("c"), 4) is many[-1]
    mine = _ticket("a")
    assert queue.loser(mine, 4) is mine


async def test_in_a_full_queue_of_equals_the_newcomer_gives_way() -> None:
    queue = _filled(_ticket("a"), _ticket("b"))
    newcomer = _ticket("c")
    assert queue.loser(newcomer, 2) is newcomer


async def test_in_a_full_queue_batch_gives_way_down_to_its_part_and_interactive_down_to_its_own() -> None:
    batch = [_ticket("b", "batch") for _ in range(8)]
    queue = _filled(*batch)
    for place in range(7, 0, -1):
        newcomer = _ticket(f"i{place}")
        loser = queue.loser(newcomer, 8)
        assert loser is batch[place]
        queue.remove(loser)
        queue.push(newcomer)
    late = _ticket("i8")
    assert queue.loser(late, 8) is late
    queue.remove(batch[0])
    queue.push(late)
    assert queue.loser(_ticket("b", "batch"), 8).priority == "interactive"


async def test_ahead_is_what_starts_before_a_newcomer() -> None:
    queue = _filled(*[_ticket("a") for _ in range(10)], *[_ticket("b") for _ in range(2)])
    assert queue.ahead(_ticket("a")) == 12
    assert queue.ahead(_ticket("b")) == 5
    assert queue.ahead(_ticket("c")) == 2
    assert queue.ahead(_ticket("c", "batch")) == pytest.approx(7)  # 8th at the latest, though 12 are before it


async def test_ahead_is_what_starts_before_one_that_waits() -> None:
    tickets = [_ticket("a") for _ in range(4)] + [_ticket("b")]
    queue = _filled(*tickets)
    assert [queue.ahead(ticket) for ticket in tickets] == [1, 2, 3, 4, 1]
    queue.pop()
    assert queue.ahead(tickets[1]) == 1
