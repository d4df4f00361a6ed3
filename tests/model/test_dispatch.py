"""Experts spread over ranks answer as experts in one place do, however unevenly tokens choose them."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from model.dispatch import AllToAllDispatcher, Dispatcher, LocalDispatcher
from model.expert_placement import ExpertPlacement, even_placement
from model.moe import Experts
from tests.model.ranks import run_ranks

NUM_EXPERTS, TOP_K, HIDDEN, WIDTH = 8, 3, 16, 8
# Tokens of each rank, pass by pass: even, ragged, and with ranks that have none.
PASSES = [[5, 5, 5, 5], [1, 0, 40, 7], [0, 0, 3, 0], [0, 0, 0, 0], [2, 9, 0, 1]]
# Experts 0 and 1, which most tokens choose, have copies.
COPIED = {2: ((0, 1, 2, 3, 4), (5, 6, 7, 1, 0)), 4: ((0, 1, 2), (3, 0, 4), (5, 1, 0), (6, 7, 0))}


def case(number: int, num_ranks: int) -> tuple[Experts, list[tuple[Tensor, Tensor, Tensor]]]:
    """All experts, and each rank's tokens, choices and weights: the same in every process."""
    torch.manual_seed(number)
    experts = Experts(HIDDEN, NUM_EXPERTS, WIDTH)
    # The first experts are chosen far more often, the last one never.
    chances = torch.tensor([9.0, 5, 3, 2, 1, 1, 1, 0])
    return experts, [
        (
            torch.randn(size, HIDDEN),
            torch.multinomial(chances.expand(max(1, size), -1), TOP_K)[:size],
            torch.rand(size, TOP_K),
        )
        for size in PASSES[number][-num_ranks:]
    ]


def answers(dispatcher: Dispatcher, experts: Experts, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    dispatched = dispatcher.dispatch(x, dispatcher.announce(chosen))
    return dispatcher.combine(experts(dispatched.rows_RD, dispatched.ends_X), dispatched, weights)


def part(experts: Experts, held: tuple[int, ...], dtype: torch.dtype) -> Experts:
    shard = Experts(HIDDEN, len(held), WIDTH)
    for name in ("gate_up", "down"):
        setattr(shard, name, torch.nn.Parameter(getattr(experts, name)[list(held)].to(dtype)))
    return shard


def check_passes(rank: int, num_ranks: int, slots: tuple[tuple[int, ...], ...] | None, dtype: torch.dtype) -> None:
    placement = even_placement(NUM_EXPERTS, num_ranks) if slots is None else ExpertPlacement(slots)
    dispatcher = AllToAllDispatcher(placement)
    for number in range(len(PASSES)):
        experts, inputs = case(number, num_ranks)
        x, chosen, weights = inputs[rank]
        spread = answers(dispatcher, part(experts, placement.slots[rank], dtype), x.to(dtype), chosen, weights)
        alone = part(experts, tuple(range(NUM_EXPERTS)), dtype)
        torch.testing.assert_close(spread, answers(LocalDispatcher(NUM_EXPERTS), alone, x.to(dtype), chosen, weights))


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_spread_experts_answer_as_those_in_one_place(num_ranks: int) -> None:
    run_ranks(num_ranks, check_passes, None, torch.float32)


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_copies_of_experts_change_no_answer(num_ranks: int) -> None:
    run_ranks(num_ranks, check_passes, COPIED[num_ranks], torch.float32)


def test_bfloat16_rows_travel_as_they_are() -> None:
    run_ranks(2, check_passes, None, torch.bfloat16)


def rows_here(rank: int, num_ranks: int, slots: tuple[tuple[int, ...], ...]) -> int:
    """How many rows this rank computes when each token of each rank chooses expert 0."""
    x = torch.zeros(12, HIDDEN)
    dispatcher = AllToAllDispatcher(ExpertPlacement(slots))
    dispatched = dispatcher.dispatch(x, dispatcher.announce(torch.zeros(12, 1, dtype=torch.int64)))
    return len(dispatched.rows_RD)


def test_copies_of_an_expert_share_its_rows() -> None:
    assert run_ranks(2, rows_here, ((0, 1), (2, 3))) == [24, 0]
    assert run_ranks(2, rows_here, ((0, 1, 2), (3, 2, 0))) == [12, 12]


def bytes_sent(rank: int, num_ranks: int) -> list[int]:
    """Elements of every tensor this rank hands to an exchange, when only rank 0 has a token, of 2 experts on rank 1."""
    sizes, exchange = [], dist.all_to_all_single

    def counted(out: Tensor, given: Tensor, *args: object, **options: object) -> dist.Work | None:
        sizes.append(given.numel())
        return exchange(out, given, *args, **options)

    dist.all_to_all_single = counted
    dispatcher = AllToAllDispatcher(even_placement(NUM_EXPERTS, num_ranks))
    chosen = torch.tensor([[5, 7]])[: 1 - rank]
    dispatched = dispatcher.dispatch(torch.zeros(1 - rank, HIDDEN), dispatcher.announce(chosen))
    dispatcher.combine(dispatched.rows_RD, dispatched, torch.ones(chosen.shape))
    return sizes


def test_no_more_rows_travel_than_there_are() -> None:
    assert run_ranks(2, bytes_sent) == [[NUM_EXPERTS, 2 * HIDDEN, 0], [NUM_EXPERTS, 0, 2 * HIDDEN]]


def wrong_size(rank: int, num_ranks: int) -> None:
    with pytest.raises(ValueError, match="over 4 ranks, 1 of them here"):
        AllToAllDispatcher(even_placement(NUM_EXPERTS, 4))


def test_a_placement_over_other_ranks_is_refused() -> None:
    run_ranks(1, wrong_size)
