"""A picture as facts: what stands where on which ground. Questions are answered from it and pixels drawn from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Shape = Literal["circle", "square", "triangle", "star", "cross"]
Colour = Literal["red", "green", "blue", "yellow", "orange", "purple", "black", "white"]
Rgb = tuple[int, int, int]
Kind = tuple[Shape, Colour]

SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "star", "cross")
RGB_OF: dict[Colour, Rgb] = {
    "red": (215, 30, 35),
    "green": (30, 150, 55),
    "blue": (30, 80, 215),
    "yellow": (245, 215, 30),
    "orange": (245, 130, 20),
    "purple": (130, 40, 160),
    "black": (15, 15, 15),
    "white": (248, 248, 248),
}
COLOURS: tuple[Colour, ...] = tuple(RGB_OF)
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
