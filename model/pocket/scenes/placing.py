"""Scenes by chance: which things, where, how large and before what."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from model.pocket.dialogue import Split
from model.pocket.scenes.scene import COLOURS, SHAPES, TONES, Background, Colour, Kind, Rgb, Scene, Thing
from model.pocket.scenes.sizes import picture_size

MAX_THINGS = 5
_CELLS = 9
# Of a cell, from its middle: half is the cell's edge, where a place would be a matter of opinion.
_MAX_SHIFT = 0.25
_CLOSER = 0.95
# Of a cell's smaller side.
_MIN_RADIUS = 0.32
# Of the room that a thing has; the rest keeps it apart from its neighbours and the picture's edge.
_FILLED = 0.86
_MAX_TURN = 12.0
_JITTER = 8
# Levels between a thing and what is behind it. Grey is far from every colour, so that there is always one.
_MIN_CONTRAST = 125.0
_GREY: Rgb = (128, 128, 128)
_GROUNDS: tuple[Rgb, ...] = (
    (255, 255, 255),
    (255, 255, 255),
    (225, 225, 225),
    (0, 0, 0),
    (50, 50, 55),
    (222, 235, 250),
    (225, 245, 228),
    (250, 228, 232),
    (250, 246, 222),
)


def one_kind(rng: random.Random, count: int) -> list[Kind]:
    """So many equal things."""
    return [(rng.choice(SHAPES), rng.choice(COLOURS))] * count


def two_kinds(rng: random.Random) -> list[Kind]:
    """Two things that differ in shape, colour or both."""
    while True:
        first, second = one_kind(rng, 1)[0], one_kind(rng, 1)[0]
        if first != second:
            return [first, second]


def any_kinds(rng: random.Random) -> list[Kind]:
    """Up to five things of few shapes and colours, so that some are alike."""
    shapes = rng.sample(SHAPES, rng.randint(1, 3))
    colours = rng.sample(COLOURS, rng.randint(1, 3))
    return [(rng.choice(shapes), rng.choice(colours)) for _ in range(rng.randint(1, MAX_THINGS))]


def crowd(rng: random.Random) -> list[Kind]:
    """More things than one would count at a glance, of any kind. To learn to see from."""
    return [one_kind(rng, 1)[0] for _ in range(rng.randint(MAX_THINGS, _CELLS))]


def different_kinds(rng: random.Random) -> list[Kind]:
    """Three to five things, no two of them alike: who takes one for another is wrong."""
    return rng.sample([(shape, colour) for shape in SHAPES for colour in COLOURS], rng.randint(3, MAX_THINGS))


def some_kinds(rng: random.Random) -> list[Kind]:
    """One thing, equal ones, two that differ, or any."""
    form = rng.randrange(4)
    if form == 0:
        return one_kind(rng, 1)
    if form == 1:
        return one_kind(rng, rng.randint(2, MAX_THINGS))
    return two_kinds(rng) if form == 2 else any_kinds(rng)


def placed(rng: random.Random, split: Split, kinds: Sequence[Kind]) -> Scene:
    """A scene with one thing of each kind given, each in a cell of its own."""
    width, height = picture_size(rng, split)
    cells = rng.sample(range(_CELLS), len(kinds))
    min_radius = _MIN_RADIUS * min(width, height) / 3
    things = []
    for (shape, colour), cell, (x, y, room) in zip(
        kinds, cells, _centres(rng, cells, width, height, min_radius), strict=True
    ):
        radius = rng.uniform(min_radius, room)
        turn = rng.uniform(-_MAX_TURN, _MAX_TURN)
        row, column = divmod(cell, 3)
        things.append(Thing(shape, colour, column, row, x, y, radius, turn, _tone(rng, colour)))
    return Scene(width, height, _background(rng, [thing.rgb for thing in things]), tuple(things))


def _centres(
    rng: random.Random, cells: list[int], width: int, height: int, min_room: float
) -> list[tuple[float, float, float]]:
    """A point in each cell and the room around it, ever closer to the cells' middles until there is enough."""
    shift = _MAX_SHIFT
    while True:
        centres = [_centre(rng, cell, shift, width / 3, height / 3) for cell in cells]
        rooms = [
            _room(x, y, width, height, centres[:index] + centres[index + 1 :]) for index, (x, y) in enumerate(centres)
        ]
        if min(rooms) >= min_room:
            return [(x, y, room) for (x, y), room in zip(centres, rooms, strict=True)]
        shift *= _CLOSER


def _centre(rng: random.Random, cell: int, shift: float, cell_width: float, cell_height: float) -> tuple[float, float]:
    row, column = divmod(cell, 3)
    shift_x, shift_y = (rng.uniform(-shift, shift) for _ in range(2))
    return (column + 0.5 + shift_x) * cell_width, (row + 0.5 + shift_y) * cell_height


def _room(x: float, y: float, width: int, height: int, others: list[tuple[float, float]]) -> float:
    """The largest radius here that leaves others as much and stays in the picture."""
    nearest = min((math.dist((x, y), other) for other in others), default=math.inf)
    return _FILLED * min(x, y, width - x, height - y, nearest / 2)


def _background(rng: random.Random, before: list[Rgb]) -> Background:
    usable = [ground for ground in _GROUNDS if _is_clear(ground, before)] or [_GREY]
    top = rng.choice(usable)
    bottom = _jittered(rng, top) if rng.random() < 0.3 else top
    noise = rng.randint(4, 20) if rng.random() < 0.2 else 0
    return Background(top, bottom, noise, rng.getrandbits(32))


def _is_clear(ground: Rgb, before: list[Rgb]) -> bool:
    return all(math.dist(ground, rgb) >= _MIN_CONTRAST for rgb in before)


def _tone(rng: random.Random, colour: Colour) -> Rgb:
    share = rng.random()
    red, green, blue = (round(low + share * (high - low)) for low, high in zip(*TONES[colour], strict=True))
    return _jittered(rng, (red, green, blue))


def _jittered(rng: random.Random, rgb: Rgb) -> Rgb:
    red, green, blue = (min(255, max(0, level + rng.randint(-_JITTER, _JITTER))) for level in rgb)
    return red, green, blue
