"""A question with its right answer, and a family of such questions."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Question:
    """`forms` say the same in other words."""

    forms: tuple[str, ...]
    answer: str

    def worded(self, rng: random.Random) -> str:
        """One of the forms, in British or American spelling."""
        text = rng.choice(self.forms)
        return text.replace("olour", "olor") if rng.random() < 0.5 else text


@dataclass(frozen=True)
class QuestionKind(Generic[Seen]):
    """`find` gives all such questions about what is seen. `answers` are those that shall be equally frequent.

    Without `answers`, they are as frequent as scenes make them.
    """

    skill: str
    find: Callable[[Seen], list[Question]]
    answers: tuple[str, ...] = ()
