"""The pieces that an answer consists of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of what the model says to its reader."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function the model wants called. `args` hold what JSON can hold; numbers are finite."""

    name: str
    args: dict[str, Any]


Piece = Text | Thought | FunctionCall
Pieces = tuple[Piece, ...]


def visible_text(pieces: Iterable[Piece]) -> str:
    """What a reader sees: no thoughts, no calls."""
    return "".join([piece.text for piece in pieces if isinstance(piece, Text)])


def joined(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """The same answer with neighbouring texts, and neighbouring thoughts, as one piece each."""
    if len(pieces) < 2:
        return pieces
    return [piece for kind, run in groupby(pieces, type) for piece in _one(kind, run)]


def _one(kind: type[Piece], run: Iterable[Any]) -> Iterable[Piece]:
    if kind is FunctionCall:
        return run
    text = "".join([piece.text for piece in run])
    return (Thought(text),) if kind is Thought else (Text(text),)
