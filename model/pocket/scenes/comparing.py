"""What may be asked about two pictures, each of equal things.

An answer names what it rests on first: "red and blue: no".
"""

from __future__ import annotations

from typing import TypeVar

from model.pocket.scenes.question import Question, QuestionKind, resting_on
from model.pocket.scenes.scene import Scene
from model.pocket.scenes.words import counted, listed

Pair = tuple[Scene, Scene]
T = TypeVar("T")
_AND = " and "

YES_NO = ("yes", "no")
FIRST_SECOND = ("the first", "the second")


def _same_shape(pair: Pair) -> list[Question]:
    forms = (
        "Do both pictures show the same shape?",
        "Are the shapes the same?",
        "Is it the same shape in both pictures?",
        "Do both images have the same shape?",
    )
    return [_same(forms, _shapes(pair), _shapes(pair))]


def _same_colour(pair: Pair) -> list[Question]:
    forms = (
        "Do both pictures show the same colour?",
        "Are the colours the same?",
        "Is it the same colour in both pictures?",
        "Do both images have the same colour?",
    )
    return [_same(forms, _colours(pair), _colours(pair))]


def _same_count(pair: Pair) -> list[Question]:
    forms = ("Do both pictures have the same number of shapes?", "Is the number of shapes the same?")
    return [_same(forms, _counted(pair), _counts(pair))]


def _more(pair: Pair) -> list[Question]:
    first, second = _counts(pair)
    more = ("Which picture has more shapes?", "Which image has more shapes?", "Where are more shapes?")
    fewer = ("Which picture has fewer shapes?", "Which image has fewer shapes?")
    forms = (more, fewer) if first > second else (fewer, more)
    return _either(forms, _counted(pair), (first, second))


def _which_shape(pair: Pair) -> list[Question]:
    first, second = _shapes(pair)
    return _either((_which(f"a {first}"), _which(f"a {second}")), _shapes(pair), _shapes(pair))


def _which_colour(pair: Pair) -> list[Question]:
    first, second = _colours(pair)
    return _either((_which(first), _which(second)), _colours(pair), _colours(pair))


def _which(what: str) -> tuple[str, ...]:
    return f"Which picture shows {what}?", f"Which image shows {what}?", f"In which picture do you see {what}?"


def _shapes(pair: Pair) -> tuple[str, str]:
    return pair[0].things[0].shape, pair[1].things[0].shape


def _colours(pair: Pair) -> tuple[str, str]:
    return pair[0].things[0].colour, pair[1].things[0].colour


def _counts(pair: Pair) -> tuple[int, int]:
    return len(pair[0].things), len(pair[1].things)


def _counted(pair: Pair) -> tuple[str, str]:
    return counted(pair[0].things), counted(pair[1].things)


def _one_of_them(pair: Pair) -> list[Question]:
    return [
        Question((f"What is in the {which} picture?", f"Describe the {which} image."), listed(scene))
        for which, scene in zip(("first", "second"), pair, strict=True)
    ]


def _same(forms: tuple[str, ...], evidence: tuple[str, str], compared: tuple[T, T]) -> Question:
    first, second = compared
    return _after(evidence, forms, YES_NO[0] if first == second else YES_NO[1])


def _either(
    forms: tuple[tuple[str, ...], tuple[str, ...]], evidence: tuple[str, str], compared: tuple[T, T]
) -> list[Question]:
    """A question that the first picture answers and one that the second does, if they differ."""
    first, second = compared
    if first == second:
        return []
    return [_after(evidence, asked, which) for asked, which in zip(forms, FIRST_SECOND, strict=True)]


def _after(evidence: tuple[str, str], forms: tuple[str, ...], verdict: str) -> Question:
    return Question(forms, resting_on(_AND.join(evidence), verdict))


TWO_PICTURES: tuple[QuestionKind[Pair], ...] = (
    QuestionKind("compare", _same_shape, YES_NO),
    QuestionKind("compare", _same_colour, YES_NO),
    QuestionKind("compare", _same_count, YES_NO),
    QuestionKind("compare", _more, FIRST_SECOND),
    QuestionKind("compare", _which_shape, FIRST_SECOND),
    QuestionKind("compare", _which_colour, FIRST_SECOND),
    QuestionKind("describe", _one_of_them),
)
