"""Sizes of pictures: no side in pixels that tests have is ever trained on."""

from __future__ import annotations

import math
import random

from model.pocket.dialogue import Split

MIN_SIDE, MAX_SIDE = 48, 640
MAX_ASPECT = 3.0


def is_held_out(side: int) -> bool:
    """Whether only tests have pictures with this side: a quarter of all, in bands of 16 pixels."""
    return side // 16 % 4 == 1


def picture_size(rng: random.Random, split: Split) -> tuple[int, int]:
    """Width and height, small ones as often as large, at most three times as long as broad."""
    while True:
        width, height = _side(rng, split), _side(rng, split)
        if max(width, height) <= MAX_ASPECT * min(width, height):
            return width, height


def _side(rng: random.Random, split: Split) -> int:
    while True:
        side = round(math.exp(rng.uniform(math.log(MIN_SIDE), math.log(MAX_SIDE))))
        if is_held_out(side) == (split == "test"):
            return side
