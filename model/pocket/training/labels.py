"""What each soft token is to say, in words of the vocabulary: how the encoders learn before the decoder listens."""

from collections.abc import Sequence

from model.pocket.scenes.scene import Scene, Thing
from model.pocket.speech.lexicon import DIGITS
from model.pocket.transcript import tokenizer

# A soft token that says nothing; the blank of connectionist temporal classification too.
NOTHING = 0
_ROWS = ("top", "middle", "bottom")
_COLUMNS = ("left", "centre", "right")
# Cells whose middle is this far inside a thing, in parts of its radius, say what it is.
_INSIDE = 0.8
_SHAPE_SHARE = 3
_DIGITS = {word: str(value) for value, word in enumerate(DIGITS)}


def picture_words(scene: Scene, columns: int, rows: int) -> list[tuple[int, ...]]:
    """Token ids for each of the columns x rows soft tokens, row by row; () where a picture shows nothing.

    The cell that holds a thing's middle says its colour, shape and place; others that it covers, colour and shape.
    A word that stands more than once is to be said louder.
    """
    cells: list[tuple[int, ...]] = [()] * (columns * rows)
    for thing in scene.things:
        kind = _kind(thing)
        for cell in _covered(thing, scene, columns, rows):
            cells[cell] = kind
    for thing in scene.things:
        column, row = int(thing.x * columns / scene.width), int(thing.y * rows / scene.height)
        place = (_word(_ROWS[thing.row]), _word(_COLUMNS[thing.column]))
        cells[row * columns + column] = (*_kind(thing), *place)
    return cells


def _kind(thing: Thing) -> tuple[int, ...]:
    """The shape is what takes longest to learn."""
    return (_word(thing.colour), *[_word(thing.shape)] * _SHAPE_SHARE)


def _covered(thing: Thing, scene: Scene, columns: int, rows: int) -> list[int]:
    reach = (thing.radius * _INSIDE) ** 2
    return [
        row * columns + column
        for row in range(rows)
        for column in range(columns)
        if ((column + 0.5) * scene.width / columns - thing.x) ** 2 + ((row + 0.5) * scene.height / rows - thing.y) ** 2
        <= reach
    ]


def spoken_words(words: Sequence[str]) -> list[int]:
    """Token ids of what is said, digits as digits."""
    return [_word(_DIGITS.get(word, word)) for word in words]


def _word(word: str) -> int:
    id_: int | None = tokenizer().token_to_id(word)
    if id_ is None:
        raise ValueError(f"{word!r} is no token: run python -m model.pocket.lexicon")
    return id_
