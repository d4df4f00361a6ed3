"""Words that no one can know beforehand: made up from syllables, spelled letter by letter by the tokenizer."""

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from model.pocket.dialogue import Split
from model.pocket.tokenizer import lexicon

_ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh st t tr v w x y z".split()  # noqa: SIM905
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "oa", "ou", "ia")
_ENDS = ["", "", "n", "r", "s", "l", "m", "th", "nd", "ck", "x", "t"]
_ONE_IN = 8


def word(rng: random.Random, split: Split, syllables: tuple[int, int] = (1, 2)) -> str:
    """A lower-case word of 2 to about 8 letters; one in eight of all words is kept for tests."""
    while True:
        made = "".join(_syllable(rng) for _ in range(rng.randint(*syllables)))
        if _is_blank.get():
            return "0"
        if 2 <= len(made) <= 8 and made not in _known() and is_held_out(made) == (split == "test"):
            return made


def name(rng: random.Random, split: Split) -> str:
    """A word of two syllables with a capital: a person, a place, a pet."""
    return word(rng, split, (2, 2)).capitalize()


def is_held_out(text: str) -> bool:
    """Whether only tests may hold this; the same on every machine."""
    return zlib.crc32(text.lower().encode()) % _ONE_IN == 0


@contextmanager
def blank() -> Iterator[None]:
    """Within this no word is made up: a 0 stands in its place, so that all letters are those of known words."""
    token = _is_blank.set(True)
    try:
        yield
    finally:
        _is_blank.reset(token)


_is_blank: ContextVar[bool] = ContextVar("_is_blank", default=False)


@cache
def _known() -> frozenset[str]:
    return frozenset(known.lower() for known in lexicon())


def _syllable(rng: random.Random) -> str:
    return rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_ENDS)
