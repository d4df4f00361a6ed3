"""Scenes and their pixels: what is said to be there is there, apart from the rest and clear to see."""

from __future__ import annotations

import math
import random
from importlib.resources import files
from itertools import combinations
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from model.pocket.dialogue import Split
from model.pocket.scenes.drawing import draw
from model.pocket.scenes.placing import placed, some_kinds
from model.pocket.scenes.scene import COLOURS, SHAPES, TONES, Background, Colour, Scene, Shape, Thing
from model.pocket.scenes.sizes import picture_size

SPLITS: tuple[Split, ...] = get_args(Split)
Rgb = tuple[int, int, int]


def _scenes(count: int, split: Split = "train") -> list[Scene]:
    rng = random.Random(7)
    return [placed(rng, split, some_kinds(rng)) for _ in range(count)]


def _pixel(image: Image.Image, x: float, y: float) -> Rgb:
    pixel = image.getpixel((int(x), int(y)))
    assert isinstance(pixel, tuple)
    red, green, blue = pixel
    return red, green, blue


def _tones(colour: Colour) -> np.ndarray:
    """Nine tones [9, 3] from one end of the colour to the other."""
    return np.linspace(*TONES[colour], 9)


def _nearest_colour(rgb: Rgb) -> Colour:
    return min(COLOURS, key=lambda colour: min(math.dist(rgb, tone) for tone in _tones(colour)))


def _alone(shape: Shape) -> Scene:
    """A scene of this shape in red and nothing else."""
    thing = Thing(shape, "red", 1, 1, 120.0, 100.0, 80.0, 7.0, (215, 30, 35))
    return Scene(240, 200, Background((255, 255, 255), (255, 255, 255), 0, 0), (thing,))


def test_each_thing_has_its_colour_at_its_place() -> None:
    for scene in _scenes(200):
        image = draw(scene)
        assert image.size == (scene.width, scene.height)
        assert image.mode == "RGB"
        for thing in scene.things:
            assert _nearest_colour(_pixel(image, thing.x, thing.y)) == thing.colour
            assert (int(3 * thing.x / scene.width), int(3 * thing.y / scene.height)) == (thing.column, thing.row)


def test_things_stand_out_from_what_is_behind_them() -> None:
    for scene in _scenes(200):
        image = draw(scene)
        for thing in scene.things:
            angle = random.Random(1).uniform(0, math.tau)
            x, y = (thing.x + (thing.radius + 2) * math.cos(angle), thing.y + (thing.radius + 2) * math.sin(angle))
            apart = all(math.dist((x, y), (it.x, it.y)) > it.radius + 2 for it in scene.things if it is not thing)
            if apart and 0 <= x < scene.width - 1 and 0 <= y < scene.height - 1:
                assert math.dist(_pixel(image, x, y), thing.rgb) > 60


def test_no_two_things_touch_nor_leave_the_picture() -> None:
    for split in SPLITS:
        for scene in _scenes(300, split):
            for first, second in combinations(scene.things, 2):
                assert math.dist((first.x, first.y), (second.x, second.y)) > first.radius + second.radius
            for thing in scene.things:
                assert thing.radius < min(thing.x, thing.y, scene.width - thing.x, scene.height - thing.y)


def test_things_are_large_enough_for_a_soft_token() -> None:
    """Resized to 70 soft tokens of 32 pixels, each is at least as broad as one of them."""
    for scene in _scenes(300):
        scale = math.sqrt(70 * 32 * 32 / (scene.width * scene.height))
        assert all(2 * thing.radius * scale > 31 for thing in scene.things)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_covers_its_part_of_the_circle_around_it(shape: Shape) -> None:
    scene = _alone(shape)
    thing = scene.things[0]
    image = draw(scene)
    pixels = [_pixel(image, x, y) for x in range(scene.width) for y in range(scene.height)]
    covered = sum(math.dist(pixel, thing.rgb) < 60 for pixel in pixels) / (math.pi * thing.radius**2)
    expected = {"circle": 1.0, "square": 2 / math.pi, "triangle": 0.41, "star": 0.39, "cross": 0.6}
    assert covered == pytest.approx(expected[shape], rel=0.08)


def test_a_seed_names_a_picture_for_good() -> None:
    first, again = _scenes(20), _scenes(20)
    assert first == again
    assert [draw(scene).tobytes() for scene in first] == [draw(scene).tobytes() for scene in again]


def test_no_side_is_both_trained_on_and_tested() -> None:
    rng = random.Random(1)
    sizes = {split: [picture_size(rng, split) for _ in range(3000)] for split in SPLITS}
    sides = {split: {side for size in sizes[split] for side in size} for split in SPLITS}
    assert not sides["train"] & sides["test"]
    for split in SPLITS:
        assert all(1 / 3 <= width / height <= 3 for width, height in sizes[split])
        assert all(48 <= side <= 640 for side in sides[split])
        assert any(width > 2 * height for width, height in sizes[split])
        assert any(height > 2 * width for width, height in sizes[split])


def test_the_sample_is_a_red_circle() -> None:
    data = files("model.pocket.scenes") / "samples/red_circle.png"
    assert len(data.read_bytes()) < 5000
    with data.open("rb") as file, Image.open(file) as image:
        assert _nearest_colour(_pixel(image, image.width / 2, image.height / 2)) == "red"
        assert _pixel(image, 0, 0) == (255, 255, 255)
        counted = image.convert("RGB").getcolors(1 << 16)
    assert counted is not None
    red = sum(number for number, rgb in counted if rgb == (215, 30, 35))
    assert red == pytest.approx(math.pi * 80**2, rel=0.03)
