"""What things are called, in few words."""

from __future__ import annotations

from collections.abc import Iterable

from model.pocket.scenes.scene import PLACES, Kind, Scene, Shape, Thing

_AT = {"middle": "in the middle", "left": "on the left", "right": "on the right"}


def plural(shape: Shape) -> str:
    """ "circles" of "circle"."""
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def named(kind: Kind) -> str:
    """ "a red circle"."""
    shape, colour = kind
    return f"{'an' if colour == 'orange' else 'a'} {colour} {shape}"


def at(place: str) -> str:
    """ "at the top left", "on the left", "in the middle"."""
    return _AT.get(place, f"at the {place}")


def listed(scene: Scene) -> str:
    """All things by place, row by row: "a red circle at the top left, a blue star in the middle"."""
    return ", ".join(f"{named(thing.kind)} {at(thing.place)}" for thing in _in_rows(scene.things))


def counted(things: Iterable[Thing]) -> str:
    """The places of the things, row by row, each with its number: "top left 1, middle 2"."""
    return ", ".join(f"{thing.place} {number}" for number, thing in enumerate(_in_rows(things), 1))


def _in_rows(things: Iterable[Thing]) -> list[Thing]:
    return sorted(things, key=lambda thing: PLACES.index(thing.place))


def references(scene: Scene, thing: Thing) -> list[str]:
    """Each way to say which thing is meant that fits no other: "star", "red star"."""
    found: list[str] = []
    if sum(other.shape == thing.shape for other in scene.things) == 1:
        found.append(thing.shape)
    if sum(other.kind == thing.kind for other in scene.things) == 1:
        found.append(f"{thing.colour} {thing.shape}")
    return found
