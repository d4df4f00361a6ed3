"""Who speaks. A held-out voice's timbre is never heard in training, in any accent."""

import random
from dataclasses import dataclass

from model.pocket.dialogue import Split

# Accents that take a variant: plain en-gb ignores it and sounds the same for all.
_ACCENTS = ("en-us", "en-gb-x-rp")
_VARIANTS: dict[Split, tuple[str, ...]] = {
    "train": ("m1", "m2", "m3", "m5", "m6", "m8", "f1", "f3", "f4", "f5"),
    "test": ("m4", "m7", "f2"),
}
WORDS_PER_MINUTE = (165, 220)
_PITCH = (35, 65)


@dataclass(frozen=True)
class Voice:
    """How a clip is spoken: espeak-ng's name of the voice, its speed, and its pitch of 0..99."""

    name: str
    words_per_minute: int
    pitch: int


def names(split: Split) -> list[str]:
    """The voices of a split; none is in both."""
    return [f"{accent}+{variant}" for accent in _ACCENTS for variant in _VARIANTS[split]]


def draw(rng: random.Random, split: Split) -> Voice:
    """One of the split's voices at some speed and pitch."""
    return Voice(rng.choice(names(split)), rng.randint(*WORDS_PER_MINUTE), rng.randint(*_PITCH))
