"""Copies go to the experts that are asked for most, ranks get equal loads, and nothing moves for nothing."""

from __future__ import annotations

import random

import pytest

from model.config import MoeConfig
from model.expert_balance import balanced_placement, busiest_share
from model.expert_placement import ExpertPlacement, PlacementError, first_placement
from model.tiny.family import TINY_26B_A4B, TINY_31B

TEXT = TINY_26B_A4B.text  # 128 experts
HOT = [1000, *[10] * 7]


def skewed(seed: int, count: int) -> list[int]:
    generator = random.Random(seed)
    return [int(100 * generator.paretovariate(1.1)) for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("num_ranks", "copies"), [(2, 1), (4, 4), (8, 2), (8, 112), (16, 3)])
def test_ranks_get_nearly_equal_loads_and_hold_no_expert_twice(num_ranks: int, copies: int, seed: int) -> None:
    before, counts = first_placement(TEXT, num_ranks, copies), skewed(seed, 128)
    after = balanced_placement(counts, before)
    assert (after.num_ranks, after.slots_per_rank) == (num_ranks, 128 // num_ranks + copies)
    assert all(len(set(held)) == len(held) for held in after.slots)
    assert busiest_share(counts, after) <= busiest_share(counts, before)
    assert busiest_share(counts, after) < 1.1


def test_a_hot_expert_is_copied_and_cold_ones_are_not() -> None:
    before = ExpertPlacement(((0, 1, 2), (2, 3, 4), (4, 5, 6), (6, 7, 0)))
    after = balanced_placement(HOT, before)
    assert [len(slots) for slots in after.copies] == [4, 2, 1, 1, 1, 1, 1, 1]
    assert busiest_share(HOT, before) > 1.8
    assert busiest_share(HOT, after) < 1.05


def test_what_is_balanced_already_stays() -> None:
    counts = skewed(1, 128)
    once = balanced_placement(counts, first_placement(TEXT, 4, 4))
    assert balanced_placement(counts, once) == once
    noisy = [count + random.Random(2).randint(0, 3) for count in counts]
    again = balanced_placement(noisy, once)
    moved = sum(
        old != new
        for held, now in zip(once.slots, again.slots, strict=True)
        for old, new in zip(held, now, strict=True)
    )
    assert moved < 10


def test_without_counts_nobody_is_busiest() -> None:
    placement = first_placement(TEXT, 2, 2)
    assert busiest_share([0] * 128, placement) == 1
    assert balanced_placement([0] * 128, placement).num_experts == 128


@pytest.mark.parametrize(("num_ranks", "copies"), [(2, 1), (4, 96), (128, 127)])
def test_at_first_each_rank_also_holds_the_experts_that_follow_its_own(num_ranks: int, copies: int) -> None:
    own = MoeConfig(128, 8, 4).num_experts // num_ranks
    for rank, held in enumerate(first_placement(TEXT, num_ranks, copies).slots):
        assert held == tuple((rank * own + n) % 128 for n in range(own + copies))


def test_more_copies_than_there_are_experts_elsewhere_are_refused() -> None:
    with pytest.raises(PlacementError, match="65 copies on each of 2 ranks, but only 64"):
        first_placement(TEXT, 2, 65)
    with pytest.raises(PlacementError, match="dense"):
        first_placement(TINY_31B.text, 2)
