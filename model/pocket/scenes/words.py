"""What things are called, in few words."""

from __future__ import annotations

from collections import Counter

from model.pocket.scenes.scene import Kind, Scene, Shape, Thing

_NUMBERS = ("no", "one", "two", "three", "four", "five")
_AT = {"middle": "in the middle", "left": "on the left", "right": "on the right"}


def plural(shape: Shape) -> str:
    """ "circles" of "circle"."""
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def named(kind: Kind, count: int = 1) -> str:
    """ "a red circle", "three red circles"."""
    shape, colour = kind
    if count > 1:
        return f"{_NUMBERS[count]} {colour} {plural(shape)}"
    return f"{'an' if colour == 'orange' else 'a'} {colour} {shape}"


def at(place: str) -> str:
    """ "at the top left", "on the left", "in the middle"."""
    return _AT.get(place, f"at the {place}")


def described(scene: Scene) -> str | None:
    """Equal things as a number, two different ones from the left or else from the top; None of more than that."""
    kinds = Counter(thing.kind for thing in scene.things)
    if len(kinds) == 1:
        ((kind, count),) = kinds.items()
        return named(kind, count)
    if len(scene.things) > 2:
        return None
    return " and ".join(named(thing.kind) for thing in sorted(scene.things, key=_reading_order))


def listed(scene: Scene) -> str:
    """All things by place, row by row: "a red circle at the top left, a blue star in the middle"."""
    things = sorted(scene.things, key=lambda thing: (thing.row, thing.column))
    return ", ".join(f"{named(thing.kind)} {at(thing.place)}" for thing in things)


def _reading_order(thing: Thing) -> tuple[int, int]:
    return thing.column, thing.row


def references(scene: Scene, thing: Thing) -> list[str]:
    """Each way to say which thing is meant that fits no other: "star", "red star"."""
    found: list[str] = []
    if sum(other.shape == thing.shape for other in scene.things) == 1:
        found.append(thing.shape)
    if sum(other.kind == thing.kind for other in scene.things) == 1:
        found.append(f"{thing.colour} {thing.shape}")
    return found
