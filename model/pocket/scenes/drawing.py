"""A scene as pixels, with soft edges."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageChops, ImageDraw

from model.pocket.scenes.scene import Background, Scene, Shape, Thing

# Corners of a shape as (degrees clockwise from the top, distance from the centre); a circle has none.
_CORNERS: dict[Shape, tuple[tuple[float, float], ...]] = {
    "square": tuple((45 + 90 * corner, 1.0) for corner in range(4)),
    "triangle": tuple((120 * corner, 1.0) for corner in range(3)),
    "star": tuple((36 * corner, 0.42 if corner % 2 else 1.0) for corner in range(10)),
    "cross": tuple(
        (90 * arm + angle, distance) for arm in range(4) for angle, distance in ((-17, 1.0), (17, 1.0), (45, 0.413))
    ),
}
# Small shapes would lose their corners with fewer samples a pixel.
_SMALL_RADIUS = 24


def draw(scene: Scene) -> Image.Image:
    """RGB, as large as the scene says. The same scene gives the same pixels."""
    image = _ground(scene.background, scene.width, scene.height)
    for thing in scene.things:
        left, top = math.floor(thing.x - thing.radius), math.floor(thing.y - thing.radius)
        image.paste(thing.rgb, (left, top), _mask(thing, left, top))
    return image


def _ground(background: Background, width: int, height: int) -> Image.Image:
    size = (width, height)
    image = Image.new("RGB", size, background.top)
    if background.bottom != background.top:
        image.paste(background.bottom, (0, 0), Image.linear_gradient("L").resize(size))
    if background.noise:
        levels = random.Random(background.noise_seed).randbytes(width * height)
        noise = Image.frombytes("L", size, levels).point([level * background.noise // 255 for level in range(256)])
        image = ImageChops.add(image, Image.merge("RGB", (noise,) * 3))
    return image


def _mask(thing: Thing, left: int, top: int) -> Image.Image:
    """How much of each pixel the shape covers, 0 to 255, from (left, top) on."""
    scale = 4 if thing.radius < _SMALL_RADIUS else 2
    side = scale * (math.ceil(2 * thing.radius) + 2)
    mask = Image.new("L", (side, side))
    x, y, radius = scale * (thing.x - left), scale * (thing.y - top), scale * thing.radius
    if thing.shape == "circle":
        ImageDraw.Draw(mask).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    else:
        ImageDraw.Draw(mask).polygon(_outline(thing, x, y, radius), fill=255)
    return mask.reduce(scale)


def _outline(thing: Thing, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    corners = ((math.radians(angle + thing.turn), radius * distance) for angle, distance in _CORNERS[thing.shape])
    return [(x + reach * math.sin(angle), y - reach * math.cos(angle)) for angle, reach in corners]
