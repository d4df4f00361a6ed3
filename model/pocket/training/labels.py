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
_SHAPE_SHARE = 3.0
_DIGITS = {word: str(value) for value, word in enumerate(DIGITS)}


def picture_words(scene: Scene, columns: int, rows: int) -> list[dict[int, float]]:
    """Shares of token ids, 1 in sum, for each of the columns x rows soft tokens, row by row; {} where nothing is.

    Cells that a thing covers say its colour and shape; those around its middle, each by its nearness, its place. So the
    places that a picture says come to one for each thing, wherever its middle is: things can be counted.
    """
    cells: list[dict[int, float]] = [{} for _ in range(columns * rows)]
    for thing in scene.things:
        nearness = _nearness(thing, scene, columns, rows)
        for cell in {*_covered(thing, scene, columns, rows), *nearness}:
            cells[cell] = _said(thing, nearness.get(cell, 0.0))
    return cells


def _said(thing: Thing, nearness: float) -> dict[int, float]:
    """The shape is what takes longest to learn."""
    units = {_word(thing.colour): 1.0, _word(thing.shape): _SHAPE_SHARE}
    units |= {_word(_ROWS[thing.row]): nearness, _word(_COLUMNS[thing.column]): nearness, NOTHING: 2 - 2 * nearness}
    return {word: share / (3 + _SHAPE_SHARE) for word, share in units.items() if share}


def _nearness(thing: Thing, scene: Scene, columns: int, rows: int) -> dict[int, float]:
    """Of up to four cells to a thing's middle, 1 in sum: bilinear between the cells' own middles."""
    across = _between(thing.x * columns / scene.width - 0.5, columns)
    down = _between(thing.y * rows / scene.height - 0.5, rows)
    return {row * columns + column: one * other for row, one in down.items() for column, other in across.items()}


def _between(place: float, count: int) -> dict[int, float]:
    place = min(max(place, 0.0), count - 1.0)
    before = int(place)
    shares = {before: 1 - (place - before), before + 1: place - before}
    return {index: share for index, share in shares.items() if share}


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
