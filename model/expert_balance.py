"""Which experts get copies, and where: from how often tokens chose each. Pure functions over counts.

The loads of an expert's copies are equal, since they take its rows by turns. First each extra slot goes to the expert
whose copies have most to do, then copies go to the ranks with least to do (as DeepSeek's EPLB does).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from model.expert_placement import ExpertPlacement

# A rank that holds an expert already keeps it if that costs it no more than this share of a rank's mean load.
_SLACK = Fraction(1, 50)


def busiest_share(counts: Sequence[int], placement: ExpertPlacement) -> float:
    """The load of the rank with most to do, in mean loads of a rank: 1 is perfect. 1 without any load."""
    loads = [Fraction(0)] * placement.num_ranks
    for expert, slots in enumerate(placement.copies):
        for slot in slots:
            loads[slot // placement.slots_per_rank] += Fraction(counts[expert], len(slots))
    return float(max(loads) * len(loads) / sum(loads)) if sum(loads) else 1.0


def balanced_placement(counts: Sequence[int], current: ExpertPlacement) -> ExpertPlacement:
    """A placement on as many ranks and slots, in which ranks have as equal loads as can be, and little moves."""
    copies = _num_copies(counts, current)
    share = {expert: Fraction(counts[expert], number) for expert, number in enumerate(copies)}
    slack = _SLACK * sum(counts) / current.num_ranks
    ranks = [_Rank(set(held), current.slots_per_rank) for held in current.slots]
    # Those with copies first: the others fit into any slot that is left.
    for expert in sorted(share, key=lambda expert: (copies[expert] == 1, -share[expert], expert)):
        for rank in _chosen(ranks, expert, copies[expert], share[expert], slack):
            rank.take(expert, share[expert])
    for rank in ranks:
        rank.fill(share)
    return ExpertPlacement(
        tuple(_in_place(held, rank.experts) for held, rank in zip(current.slots, ranks, strict=True))
    )


class _Rank:
    """What a rank will hold."""

    def __init__(self, before: set[int], num_slots: int) -> None:
        self.before, self._num_slots = before, num_slots
        self.experts: list[int] = []
        self.load = Fraction(0)

    @property
    def num_free(self) -> int:
        return self._num_slots - len(self.experts)

    def take(self, expert: int, load: Fraction) -> None:
        self.experts.append(expert)
        self.load += load

    def fill(self, share: dict[int, Fraction]) -> None:
        """With copies of what is asked for most, should there be room left."""
        wanted = sorted(share.keys() - set(self.experts), key=lambda expert: (-share[expert], expert))
        self.experts += wanted[: self.num_free]


def _num_copies(counts: Sequence[int], current: ExpertPlacement) -> list[int]:
    copies = [1] * len(counts)
    for _ in range(current.num_ranks * current.slots_per_rank - len(counts)):
        able = [expert for expert, number in enumerate(copies) if number < current.num_ranks]
        copies[max(able, key=lambda expert: (Fraction(counts[expert], copies[expert]), -expert))] += 1
    return copies


def _chosen(ranks: list[_Rank], expert: int, number: int, load: Fraction, slack: Fraction) -> list[_Rank]:
    """The ranks that take a copy each; fewer than `number` if fewer have room."""
    free = [rank for rank in ranks if rank.num_free]
    if number == 1:
        lightest = min(free, key=lambda rank: rank.load)
        holders = [rank for rank in free if expert in rank.before and rank.load <= lightest.load + slack]
        return [min(holders, key=lambda rank: rank.load) if holders else lightest]
    # By free slots first, so that every expert with copies finds enough ranks with room.
    return sorted(free, key=lambda rank: (-rank.num_free, expert not in rank.before, rank.load))[:number]


def _in_place(before: tuple[int, ...], experts: list[int]) -> tuple[int, ...]:
    """The experts in such an order that those which were there stay in their slots."""
    arriving = [expert for expert in experts if expert not in before]
    staying = set(experts)
    places = []
    for expert in before:
        places.append(expert if expert in staying else arriving.pop())
        staying.discard(expert)
    return tuple(places)
