"""A picture as facts: what stands where on which ground. Questions are answered from it and pixels drawn from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Shape = Literal["circle", "square", "triangle", "star", "cross"]
Colour = Literal["red", "green", "blue", "yellow", "orange", "purple", "black", "white"]
Rgb = tuple[int, int, int]
Kind = tuple[Shape, Colour]

SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "star", "cross")
# The two ends of what each colour's name stands for, pure colours among them, as people draw with those.
TONES: dict[Colour, tuple[Rgb, Rgb]] = {
    "red": ((200, 30, 40), (255, 0, 0)),
    "green": ((0, 115, 50), (0, 240, 0)),
    "blue": ((40, 100, 225), (0, 0, 255)),
    "yellow": ((245, 220, 45), (255, 255, 0)),
    "orange": ((240, 115, 20), (255, 165, 0)),
    "purple": ((125, 0, 125), (150, 60, 190)),
    "black": ((0, 0, 0), (30, 30, 30)),
    "white": ((238, 238, 238), (255, 255, 255)),
}
COLOURS: tuple[Colour, ...] = tuple(TONES)
# By row, then by column.
PLACES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")


@dataclass(frozen=True)
class Thing:
    """A shape in one cell of a grid of three columns and three rows.

    `x`, `y` and `radius` are pixels from the top left: a circle that holds the whole shape. `turn` is in degrees.
    """

    shape: Shape
    colour: Colour
    column: int
    row: int
    x: float
    y: float
    radius: float
    turn: float
    rgb: Rgb

    @property
    def place(self) -> str:
        """One of PLACES."""
        return PLACES[3 * self.row + self.column]

    @property
    def kind(self) -> Kind:
        """What makes two things look equal."""
        return self.shape, self.colour


@dataclass(frozen=True)
class Background:
    """One colour at the top that turns into another at the bottom, each pixel up to `noise` levels lighter."""

    top: Rgb
    bottom: Rgb
    noise: int
    noise_seed: int


@dataclass(frozen=True)
class Scene:
    """Width and height are pixels. No two things touch, nor leave the picture."""

    width: int
    height: int
    background: Background
    things: tuple[Thing, ...]
