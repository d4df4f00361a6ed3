"""The choice among a variant's replicas, as a pure function of what they hold and how busy they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

# A replica may have a quarter more requests than all have on average, and one more.
_RELATIVE_SLACK, _LEAST_SLACK = 0.25, 1.0
# Every so many bytes of the prompt that it need not compute let it have yet another, up to so many.
_BYTES_A_REQUEST, _MOST_FOR_PREFIX = 2048, 8.0


class ChoiceReason(StrEnum):
    """Why a replica was chosen."""

    PREFIX = "PREFIX"
    """It holds more of the prompt's beginning than any other that has time."""
    PREFIX_BUSY = "PREFIX_BUSY"
    """Whoever holds the prompt's beginning is over its share."""
    NO_PREFIX = "NO_PREFIX"
    """Nobody is known to hold any of it."""


@dataclass(frozen=True)
class Candidate:
    """A replica: its requests in flight, and how many bytes of the prompt it need not compute."""

    replica: str
    load: int
    held_bytes: int


@dataclass(frozen=True)
class Choice:
    """Replicas to ask, best first; the rest only if these have no room."""

    replicas: tuple[str, ...]
    reason: ChoiceReason


def choose(candidates: Sequence[Candidate], random: Random) -> Choice:
    """The replica that holds most of the prompt and is not over its share; else the less busy of two at random."""
    mean = sum(item.load for item in candidates) / len(candidates)
    holders = [item for item in candidates if item.held_bytes]
    willing = [item for item in holders if item.load <= fair_share(mean, item.held_bytes)]
    fallback = power_of_two(candidates, random)
    if not willing:
        return Choice(fallback, ChoiceReason.PREFIX_BUSY if holders else ChoiceReason.NO_PREFIX)
    best = min(willing, key=lambda item: (-item.held_bytes, item.load, random.random()))
    return Choice((best.replica, *(name for name in fallback if name != best.replica)), ChoiceReason.PREFIX)


def fair_share(mean_load: float, held_bytes: int) -> float:
    """Most requests that a replica may have to be preferred for what it holds."""
    return mean_load * (1 + _RELATIVE_SLACK) + _LEAST_SLACK + min(_MOST_FOR_PREFIX, held_bytes / _BYTES_A_REQUEST)


def power_of_two(candidates: Sequence[Candidate], random: Random) -> tuple[str, ...]:
    """Two at random, the less busy one first."""
    drawn = random.sample(candidates, min(2, len(candidates)))
    return tuple(item.replica for item in sorted(drawn, key=lambda item: item.load))
