"""What each soft token is to say, in words of the vocabulary: how the encoders learn before the decoder listens."""

from collections.abc import Sequence

from model.pocket.scenes.scene import Scene, Thing
from model.pocket.speech.lexicon import DIGITS
from model.pocket.transcript import tokenizer

# Shares of token ids, 1 in sum, that a soft token is to say; {} where it is to say nothing.
Shares = dict[int, float]
# A soft token that says nothing; the blank of connectionist temporal classification too.
NOTHING = 0
_ROWS = ("top", "middle", "bottom")
_COLUMNS = ("left", "centre", "right")
_FULL, _EMPTY = "shape", "nothing"
# Soft tokens whose middle is this far inside a thing, in parts of its radius, are covered by it.
_INSIDE = 0.8
# The shape is what takes longest to learn.
_SHAPE_SHARE = 2.0
_DIGITS = {word: str(value) for value, word in enumerate(DIGITS)}


def place_words(scene: Scene, columns: int, rows: int) -> list[Shares]:
    """For each of the columns x rows soft tokens, row by row, what it is to say for the decoder.

    Of each of the nine places a scene has, the soft token at its middle says what is there, wherever in the place it
    is; all others say nothing. So each thing is said once: it can be looked up by any of its words, and counted.
    """
    cells: list[Shares] = [{} for _ in range(columns * rows)]
    for row, down in enumerate(_ROWS):
        for column, across in enumerate(_COLUMNS):
            here = [thing for thing in scene.things if (thing.column, thing.row) == (column, row)]
            what = _looks(here[0]) | {_FULL: 1.0} if here else {_EMPTY: 2.0}
            cells[_middle(row, rows) * columns + _middle(column, columns)] = _shares(what | {down: 1.0, across: 1.0})
    return cells


def surface_words(scene: Scene, columns: int, rows: int) -> list[Shares]:
    """The same of what each soft token shows itself: colour and shape of the thing that covers it."""
    cells: list[Shares] = [{} for _ in range(columns * rows)]
    for thing in scene.things:
        for cell in _covered(thing, scene, columns, rows):
            cells[cell] = _shares(_looks(thing))
    return cells


def _looks(thing: Thing) -> dict[str, float]:
    return {thing.colour: 1.0, thing.shape: _SHAPE_SHARE}


def _shares(weights: dict[str, float]) -> Shares:
    """As words stand within a sentence, after a space: so they are asked for and mostly answered."""
    whole = sum(weights.values())
    return {_token(f"▁{word}"): weight / whole for word, weight in weights.items()}


def _middle(third: int, count: int) -> int:
    """In which of `count` equal parts of a side the middle of that third of it is; the later one if between two."""
    return (2 * third + 1) * count // 6


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
    """Token ids of what is said, digits as digits, words as they stand within a sentence."""
    return [_token(_DIGITS.get(word, f"▁{word}")) for word in words]


def _token(text: str) -> int:
    id_: int | None = tokenizer().token_to_id(text)
    if id_ is None:
        raise ValueError(f"{text!r} is no token: run python -m model.pocket.lexicon")
    return id_
