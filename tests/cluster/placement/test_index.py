"""What a gateway knows of the replicas, and what a replica tells: the longest beginning decides, memory is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.placement.held import HeldPrefixes
from cluster.placement.index import PrefixIndex
from cluster.placement.prefix import boundary_bytes, unpack

PROMPT = tuple(range(100, 120))


def test_the_longest_beginning_that_was_sent_there_is_found() -> None:
    index = PrefixIndex()
    index.learn("a", PROMPT[:3], 0.0)
    index.learn("b", PROMPT[:7], 0.0)
    assert [index.matched(name, PROMPT) for name in ("a", "b", "c")] == [3, 7, 0]
    assert index.matched("b", PROMPT[:2]) == 2
    assert index.matched("b", (1, 2, 3)) == 0


def test_a_report_replaces_all_but_what_was_sent_lately() -> None:
    index = PrefixIndex()
    index.learn("a", (1, 2), 0.0)
    index.learn("a", (3,), 95.0)
    index.report("a", (4,), 100.0)
    assert [index.matched("a", (item,)) for item in (1, 2, 3, 4)] == [0, 0, 1, 1]
    index.report("a", (), 110.0)
    assert [index.matched("a", (item,)) for item in (3, 4)] == [0, 0]


def test_replicas_that_left_are_forgotten() -> None:
    index = PrefixIndex()
    index.learn("a", PROMPT, 0.0)
    index.learn("b", PROMPT, 0.0)
    index.keep_only(["b", "new"])
    assert [index.matched(name, PROMPT) for name in ("a", "b", "new")] == [0, len(PROMPT), 0]


def test_what_was_sent_last_is_remembered_longest() -> None:
    index = PrefixIndex()
    for number in range(10_000):
        index.learn("a", (number,), float(number))
    assert index.matched("a", (9_999,)) == 1
    assert index.matched("a", (0,)) == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 20)), max_size=40), st.integers(0, 400))
def test_a_replica_reports_no_more_than_its_cache_holds(prompts: list[tuple[int, int]], capacity: int) -> None:
    held = HeldPrefixes()
    weights = {
        number * 100 + at: boundary_bytes(at + 1) - boundary_bytes(at) for number in range(10) for at in range(20)
    }
    for number, length in prompts:
        held.used([number * 100 + at for at in range(length)], capacity)
    reported = unpack(held.packed())
    assert len(set(reported)) == len(reported)
    assert sum(weights[item] for item in reported) <= capacity * 2.5


def test_a_report_has_the_last_used_first_and_is_short() -> None:
    held = HeldPrefixes()
    for number in range(1000):
        held.used((2 * number, 2 * number + 1), 10**9)
    reported = list(unpack(held.packed()))
    assert len(reported) == 512
    assert reported[:4] == [1998, 1999, 1996, 1997]


def test_without_a_cache_nothing_is_reported() -> None:
    held = HeldPrefixes()
    held.used(PROMPT, 0)
    assert held.packed() == b""
