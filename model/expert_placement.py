"""Which rank holds which experts of a layer. Shapes: P ranks, S slots of a rank, X experts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from model.config import TextConfig


class PlacementError(ValueError):
    """Experts that cannot be spread as asked; the message has the numbers and what to change."""


@dataclass(frozen=True)
class ExpertPlacement:
    """`slots[p]` are the experts of rank p, equally many on every rank; every expert is in at least one slot."""

    slots: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len({len(held) for held in self.slots}) != 1:
            raise PlacementError("every rank must hold equally many experts")
        if {expert for held in self.slots for expert in held} != set(range(self.num_experts)):
            raise PlacementError(f"not every one of {self.num_experts} experts has a place")

    @property
    def num_ranks(self) -> int:
        return len(self.slots)

    @property
    def slots_per_rank(self) -> int:
        return len(self.slots[0])

    @property
    def is_in_order(self) -> bool:
        """Whether slots, numbered through all ranks, hold the experts of their numbers."""
        return [expert for held in self.slots for expert in held] == list(range(self.num_experts))

    @cached_property
    def num_experts(self) -> int:
        return 1 + max(expert for held in self.slots for expert in held)

    @cached_property
    def copies(self) -> tuple[tuple[int, ...], ...]:
        """Of each expert, the slots that hold it, numbered through all ranks, ascending."""
        of_expert: list[list[int]] = [[] for _ in range(self.num_experts)]
        for slot, expert in enumerate(expert for held in self.slots for expert in held):
            of_expert[expert].append(slot)
        return tuple(map(tuple, of_expert))


def first_placement(config: TextConfig, num_ranks: int, num_copies: int = 0) -> ExpertPlacement:
    """Where the experts of each of a model's layers lie at first, with `num_copies` more on each rank.

    PlacementError if they cannot be spread so.
    """
    if config.moe is None:
        raise PlacementError(f"the model has no experts to spread over {num_ranks} ranks: it is dense")
    num_experts, even = config.moe.num_experts, even_placement(config.moe.num_experts, num_ranks)
    most = num_experts - even.slots_per_rank
    if num_copies > most:
        raise PlacementError(f"{num_copies} copies on each of {num_ranks} ranks, but only {most} experts are elsewhere")
    return ExpertPlacement(
        tuple(own + tuple((own[-1] + 1 + n) % num_experts for n in range(num_copies)) for own in even.slots)
    )


def even_placement(num_experts: int, num_ranks: int) -> ExpertPlacement:
    """Each expert once, in order: rank p holds p*X/P .. (p+1)*X/P - 1. PlacementError if they do not divide."""
    if num_experts % num_ranks:
        fitting = [str(size) for size in range(1, num_experts + 1) if num_experts % size == 0]
        raise PlacementError(
            f"{num_experts} experts cannot be split evenly over {num_ranks} ranks; "
            f"use a number of ranks that divides them: {', '.join(fitting)}"
        )
    size = num_experts // num_ranks
    return ExpertPlacement(tuple(tuple(range(rank * size, (rank + 1) * size)) for rank in range(num_ranks)))
