"""What may be asked about two pictures, each of equal things.

An answer names what it rests on first, "red and blue: no": a small model that has written down what it saw compares two
words, and whoever asked can check it.
"""

from __future__ import annotations

from model.pocket.scenes.question import VERDICT, Question, QuestionKind
from model.pocket.scenes.scene import Scene
from model.pocket.scenes.words import described

Pair = tuple[Scene, Scene]

YES_NO = ("yes", "no")
FIRST_SECOND = ("the first", "the second")


def _same_shape(pair: Pair) -> list[Question]:
    forms = (
        "Do both pictures show the same shape?",
        "Are the shapes the same?",
        "Is it the same shape in both pictures?",
        "Do both images have the same shape?",
    )
    return [_same(forms, *_shapes(pair))]


def _same_colour(pair: Pair) -> list[Question]:
    forms = (
        "Do both pictures show the same colour?",
        "Are the colours the same?",
        "Is it the same colour in both pictures?",
        "Do both images have the same colour?",
    )
    return [_same(forms, *_colours(pair))]


def _same_count(pair: Pair) -> list[Question]:
    forms = ("Do both pictures have the same number of shapes?", "Is the number of shapes the same?")
    return [_same(forms, *_counts(pair))]


def _more(pair: Pair) -> list[Question]:
    first, second = _counts(pair)
    more = ("Which picture has more shapes?", "Which image has more shapes?", "Where are more shapes?")
    fewer = ("Which picture has fewer shapes?", "Which image has fewer shapes?")
    return _either(first, second, more if first > second else fewer, fewer if first > second else more)


def _which_shape(pair: Pair) -> list[Question]:
    first, second = _shapes(pair)
    return _either(first, second, _which(f"a {first}"), _which(f"a {second}"))


def _which_colour(pair: Pair) -> list[Question]:
    first, second = _colours(pair)
    return _either(first, second, _which(first), _which(second))


def _which(what: str) -> tuple[str, ...]:
    return f"Which picture shows {what}?", f"Which image shows {what}?", f"In which picture do you see {what}?"


def _shapes(pair: Pair) -> tuple[str, str]:
    return pair[0].things[0].shape, pair[1].things[0].shape


def _colours(pair: Pair) -> tuple[str, str]:
    return pair[0].things[0].colour, pair[1].things[0].colour


def _counts(pair: Pair) -> tuple[str, str]:
    return str(len(pair[0].things)), str(len(pair[1].things))


def _one_of_them(pair: Pair) -> list[Question]:
    return [
        Question((f"What is in the {which} picture?", f"Describe the {which} image."), str(described(scene)))
        for which, scene in zip(("first", "second"), pair, strict=True)
    ]


def both(pair: Pair) -> Question:
    """For training alone."""
    forms = ("Describe both pictures.", "What do both images show?")
    return Question(forms, " and ".join(str(described(scene)) for scene in pair))


def _same(forms: tuple[str, ...], first: str, second: str) -> Question:
    return _after(first, second, forms, YES_NO[0] if first == second else YES_NO[1])


def _either(first: str, second: str, of_first: tuple[str, ...], of_second: tuple[str, ...]) -> list[Question]:
    """A question that the first picture answers and one that the second does, if they differ."""
    if first == second:
        return []
    asked = zip((of_first, of_second), FIRST_SECOND, strict=True)
    return [_after(first, second, forms, which) for forms, which in asked]


def _after(first: str, second: str, forms: tuple[str, ...], verdict: str) -> Question:
    return Question(forms, f"{first} and {second}{VERDICT}{verdict}")


TWO_PICTURES: tuple[QuestionKind[Pair], ...] = (
    QuestionKind("compare", _same_shape, YES_NO),
    QuestionKind("compare", _same_colour, YES_NO),
    QuestionKind("compare", _same_count, YES_NO),
    QuestionKind("compare", _more, FIRST_SECOND),
    QuestionKind("compare", _which_shape, FIRST_SECOND),
    QuestionKind("compare", _which_colour, FIRST_SECOND),
    QuestionKind("describe", _one_of_them),
)
