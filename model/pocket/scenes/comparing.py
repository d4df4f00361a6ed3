"""What may be asked about two pictures, each of equal things."""

from __future__ import annotations

from model.pocket.scenes.question import Question, QuestionKind
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
    return [_yes_or_no(forms, pair[0].things[0].shape == pair[1].things[0].shape)]


def _same_colour(pair: Pair) -> list[Question]:
    forms = (
        "Do both pictures show the same colour?",
        "Are the colours the same?",
        "Is it the same colour in both pictures?",
        "Do both images have the same colour?",
    )
    return [_yes_or_no(forms, pair[0].things[0].colour == pair[1].things[0].colour)]


def _same_count(pair: Pair) -> list[Question]:
    forms = ("Do both pictures have the same number of shapes?", "Is the number of shapes the same?")
    return [_yes_or_no(forms, len(pair[0].things) == len(pair[1].things))]


def _more(pair: Pair) -> list[Question]:
    first, second = (len(scene.things) for scene in pair)
    if first == second:
        return []
    more = ("Which picture has more shapes?", "Which image has more shapes?", "Where are more shapes?")
    fewer = ("Which picture has fewer shapes?", "Which image has fewer shapes?")
    return [Question(more, _first_if(first > second)), Question(fewer, _first_if(first < second))]


def _which_shape(pair: Pair) -> list[Question]:
    first, second = (scene.things[0].shape for scene in pair)
    return [] if first == second else [_which(f"a {first}", True), _which(f"a {second}", False)]


def _which_colour(pair: Pair) -> list[Question]:
    first, second = (scene.things[0].colour for scene in pair)
    return [] if first == second else [_which(first, True), _which(second, False)]


def _which(what: str, is_first: bool) -> Question:
    forms = (f"Which picture shows {what}?", f"Which image shows {what}?", f"In which picture do you see {what}?")
    return Question(forms, _first_if(is_first))


def _one_of_them(pair: Pair) -> list[Question]:
    return [
        Question((f"What is in the {which} picture?", f"Describe the {which} image."), str(described(scene)))
        for which, scene in zip(("first", "second"), pair, strict=True)
    ]


def both(pair: Pair) -> Question:
    """For training alone."""
    forms = ("Describe both pictures.", "What do both images show?")
    return Question(forms, " and ".join(str(described(scene)) for scene in pair))


def _yes_or_no(forms: tuple[str, ...], is_so: bool) -> Question:
    return Question(forms, YES_NO[0] if is_so else YES_NO[1])


def _first_if(is_first: bool) -> str:
    return FIRST_SECOND[0] if is_first else FIRST_SECOND[1]


TWO_PICTURES: tuple[QuestionKind[Pair], ...] = (
    QuestionKind("compare", _same_shape, YES_NO),
    QuestionKind("compare", _same_colour, YES_NO),
    QuestionKind("compare", _same_count, YES_NO),
    QuestionKind("compare", _more, FIRST_SECOND),
    QuestionKind("compare", _which_shape, FIRST_SECOND),
    QuestionKind("compare", _which_colour, FIRST_SECOND),
    QuestionKind("describe", _one_of_them),
)
