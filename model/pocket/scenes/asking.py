"""What may be asked about one picture: all questions of a kind, answered from the scene."""

from __future__ import annotations

from collections.abc import Sequence

from model.pocket.scenes.question import Question, QuestionKind, resting_on
from model.pocket.scenes.scene import COLOURS, PLACES, SHAPES, Scene, Thing
from model.pocket.scenes.words import at, counted, listed, named, plural, references

_WHAT = (
    "What is in this picture?",
    "What is in the image?",
    "Describe the image.",
    "Describe this picture.",
    "What do you see?",
    "What does the picture show?",
    "What is where?",
)
_NOTHING = "nothing"


def whole(scene: Scene) -> Question:
    """Every word of the answer has to be found in the picture by those before it."""
    return Question(_WHAT, listed(scene))


def _whole(scene: Scene) -> list[Question]:
    return [whole(scene)]


def _colour_of_thing(scene: Scene) -> list[Question]:
    found = [
        Question(
            (f"What colour is the {name}?", f"Which colour is the {name}?", f"Name the colour of the {name}."),
            it.colour,
        )
        for it in scene.things
        for name in references(scene, it)
        if name == it.shape
    ]
    if len(scene.things) == 1:
        forms = ("What colour is it?", "What colour is the shape?", "Which colour do you see?", "Name the colour.")
        found.append(Question(forms, scene.things[0].colour))
    return found


def _colour_of_many(scene: Scene) -> list[Question]:
    found = []
    for shape in SHAPES:
        colours = [thing.colour for thing in scene.things if thing.shape == shape]
        if len(colours) > 1 and len(set(colours)) == 1:
            name = plural(shape)
            forms = (f"What colour are the {name}?", f"Which colour are the {name}?", f"Name the colour of the {name}.")
            found.append(Question(forms, colours[0]))
    return found


def _colour_at(scene: Scene) -> list[Question]:
    return [
        Question((f"What colour is the shape {at(place)}?", f"Which colour is {at(place)}?"), thing.colour)
        for place, thing in _by_place(scene)
        if thing
    ]


def _shape_of_colour(scene: Scene) -> list[Question]:
    found = [
        Question(
            (f"Which shape is {it.colour}?", f"What shape is the {it.colour} one?", f"What shape is {it.colour}?"),
            it.shape,
        )
        for it in scene.things
        if sum(other.colour == it.colour for other in scene.things) == 1
    ]
    if len(scene.things) == 1:
        forms = ("What shape is it?", "Which shape do you see?", "What shape is in the picture?", "Name the shape.")
        found.append(Question(forms, scene.things[0].shape))
    return found


def _shape_at(scene: Scene) -> list[Question]:
    return [
        Question((f"What shape is {at(place)}?", f"Which shape is {at(place)}?"), thing.shape)
        for place, thing in _by_place(scene)
        if thing
    ]


def _count_of_all(scene: Scene) -> list[Question]:
    forms = (
        "How many shapes are there?",
        "How many shapes are in the picture?",
        "How many shapes do you see?",
        "Count the shapes.",
    )
    return [Question(forms, _counted(scene.things))]


def _count_of_shape(scene: Scene) -> list[Question]:
    return [
        _count_of(plural(shape), [thing for thing in scene.things if thing.shape == shape], "Count the {}.")
        for shape in SHAPES
    ]


def _count_of_colour(scene: Scene) -> list[Question]:
    return [
        _count_of(
            f"{colour} shapes", [thing for thing in scene.things if thing.colour == colour], "How many are {}?", colour
        )
        for colour in COLOURS
    ]


def _count_of(name: str, things: list[Thing], short: str, short_name: str = "") -> Question:
    forms = (
        f"How many {name} are there?",
        f"How many {name} are in the picture?",
        f"How many {name} do you see?",
        short.format(short_name or name),
    )
    return Question(forms, _counted(things))


def _counted(things: Sequence[Thing]) -> str:
    """ "top left 1, middle 2: 2", "0"."""
    return resting_on(counted(things), str(len(things))) if things else "0"


def _where(scene: Scene) -> list[Question]:
    found = [
        Question((f"Where is the {name}?", f"Where do you see the {name}?", f"Where can you see the {name}?"), it.place)
        for it in scene.things
        for name in references(scene, it)
    ]
    if len(scene.things) == 1:
        found.append(Question(("Where is it?", "Where is the shape?", "Where do you see it?"), scene.things[0].place))
    return found


def _at_place(scene: Scene) -> list[Question]:
    return [
        Question((f"What is {at(place)}?", f"What do you see {at(place)}?"), named(thing.kind) if thing else _NOTHING)
        for place, thing in _by_place(scene)
    ]


def _by_place(scene: Scene) -> list[tuple[str, Thing | None]]:
    """What is at each place that leaves no doubt: "left" could mean the whole side, so nothing else may be there."""
    found: list[tuple[str, Thing | None]] = []
    for cell, place in enumerate(PLACES):
        row, column = divmod(cell, 3)
        here = [thing for thing in scene.things if (thing.column, thing.row) == (column, row)]
        if _on_side(scene, row, column) == len(here):
            found.append((place, here[0] if here else None))
    return found


def _on_side(scene: Scene, row: int, column: int) -> int:
    """How many things could be meant by the cell's place."""
    if column != 1 and row == 1:
        return sum(thing.column == column for thing in scene.things)
    if row != 1 and column == 1:
        return sum(thing.row == row for thing in scene.things)
    return sum((thing.column, thing.row) == (column, row) for thing in scene.things)


def _something_at_place(scene: Scene) -> list[Question]:
    """Without "nothing", which would be the most frequent answer."""
    return [question for question in _at_place(scene) if question.answer != _NOTHING]


_COUNTS = tuple(map(str, range(6)))

ONE_PICTURE: tuple[QuestionKind[Scene], ...] = (
    QuestionKind("describe", _whole),
    QuestionKind("colour", _colour_of_thing, COLOURS),
    QuestionKind("colour", _colour_of_many, COLOURS),
    QuestionKind("colour", _colour_at, COLOURS),
    QuestionKind("shape", _shape_of_colour, SHAPES),
    QuestionKind("shape", _shape_at, SHAPES),
    QuestionKind("count", _count_of_all, _COUNTS[1:]),
    QuestionKind("count", _count_of_shape, _COUNTS),
    QuestionKind("count", _count_of_colour, _COUNTS),
    QuestionKind("position", _where, PLACES),
    QuestionKind("position", _where, PLACES),
    QuestionKind("position", _something_at_place),
    QuestionKind("position", _at_place, (_NOTHING,)),
)
