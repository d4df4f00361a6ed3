"""Laws of the choice: prefixes draw requests, load repels them, and everybody can be chosen."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cluster.placement.choice import Candidate, ChoiceReason, choose, fair_share

CANDIDATES = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 50_000)), min_size=1, max_size=8).map(
    lambda pairs: [Candidate(f"r{at}", load, held) for at, (load, held) in enumerate(pairs)]
)


def _mean(candidates: list[Candidate]) -> float:
    return sum(item.load for item in candidates) / len(candidates)


@given(CANDIDATES, st.integers())
def test_a_choice_is_of_candidates_each_once(candidates: list[Candidate], seed: int) -> None:
    choice = choose(candidates, Random(seed))
    assert 1 <= len(choice.replicas) == len(set(choice.replicas)) <= 3
    assert set(choice.replicas) <= {item.replica for item in candidates}


@given(CANDIDATES, st.integers())
def test_nobody_over_its_share_is_preferred(candidates: list[Candidate], seed: int) -> None:
    choice = choose(candidates, Random(seed))
    chosen = next(item for item in candidates if item.replica == choice.replicas[0])
    if choice.reason is ChoiceReason.PREFIX:
        assert chosen.load <= fair_share(_mean(candidates), chosen.held_bytes)


@given(CANDIDATES, st.integers())
def test_nobody_under_its_share_holds_more_than_the_preferred_one(candidates: list[Candidate], seed: int) -> None:
    choice, mean = choose(candidates, Random(seed)), _mean(candidates)
    chosen = next(item for item in candidates if item.replica == choice.replicas[0])
    willing = [item for item in candidates if item.held_bytes and item.load <= fair_share(mean, item.held_bytes)]
    assert (choice.reason is ChoiceReason.PREFIX) == bool(willing)
    if willing:
        assert chosen.held_bytes == max(item.held_bytes for item in willing)
        assert chosen.load == min(item.load for item in willing if item.held_bytes == chosen.held_bytes)


@given(CANDIDATES, st.integers())
def test_the_reason_tells_whether_anybody_holds_it(candidates: list[Candidate], seed: int) -> None:
    is_held = any(item.held_bytes for item in candidates)
    assert (choose(candidates, Random(seed)).reason is ChoiceReason.NO_PREFIX) == (not is_held)


@given(st.lists(st.integers(0, 100), min_size=2, max_size=8), st.integers())
def test_without_a_prefix_the_busiest_is_never_chosen(loads: list[int], seed: int) -> None:
    candidates = [Candidate(f"r{at}", load, 0) for at, load in enumerate(loads)]
    first = int(choose(candidates, Random(seed)).replicas[0][1:])
    assert loads[first] < max(loads) or loads.count(max(loads)) > 1


def test_one_prefix_asked_for_by_all_does_not_overload_its_holder() -> None:
    """Requests that never end, each with the same long beginning; whoever computes it holds it."""
    random, loads, holders = Random(0), [0] * 4, {0}
    for _ in range(400):
        held = [Candidate(str(at), load, 10_000 * (at in holders)) for at, load in enumerate(loads)]
        chosen = int(choose(held, random).replicas[0])
        loads[chosen] += 1
        holders.add(chosen)
    assert max(loads) <= fair_share(100, 10_000) + 1
    assert min(loads) > 0


def test_every_replica_can_be_chosen() -> None:
    random, candidates = Random(0), [Candidate(str(at), 0, 0) for at in range(5)]
    assert {choose(candidates, random).replicas[0] for _ in range(200)} == {item.replica for item in candidates}
