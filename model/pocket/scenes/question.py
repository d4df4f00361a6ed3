"""A question with its right answer, and a family of such questions."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Seen = TypeVar("Seen")
# Between what an answer rests on and the answer itself, where it names both. A small model that has written down what
# it saw has only to compare words or go on counting, and whoever asked can check it.
VERDICT = ": "


def resting_on(evidence: str, verdict: str) -> str:
    """The answer that names both: "red and blue: no"."""
    return f"{evidence}{VERDICT}{verdict}"


@dataclass(frozen=True)
class Question:
    """`forms` say the same in other words."""

    forms: tuple[str, ...]
    answer: str

    @property
    def verdict(self) -> str:
        """The answer itself, without what it rests on."""
        return self.answer.rpartition(VERDICT)[2]

    def worded(self, rng: random.Random) -> str:
        """One of the forms, in British or American spelling."""
        text = rng.choice(self.forms)
        return text.replace("olour", "olor") if rng.random() < 0.5 else text


@dataclass(frozen=True)
class QuestionKind(Generic[Seen]):
    """`find` gives all such questions about what is seen. `answers` are the verdicts that shall be equally frequent.

    Without `answers`, they are as frequent as scenes make them.
    """

    skill: str
    find: Callable[[Seen], list[Question]]
    answers: tuple[str, ...] = ()
