"""Matches words: whether two are the same, which of two it is, whether one is among others, how many there are.

Much of what is asked about pictures and clips comes down to this once they are put into words.
"""

import random

from model.pocket.dialogue import Dialogue, Split
from model.pocket.scenes.question import resting_on
from model.pocket.scenes.scene import COLOURS, SHAPES
from model.pocket.skills.exchange import Exchange, messages
from model.pocket.speech import lexicon

_KINDS: tuple[tuple[str, ...], ...] = (COLOURS, SHAPES, lexicon.WORDS)
_DIGITS = tuple("0123456789")
_MOST_WORDS, _MOST_DIGITS = 4, 6


def matching(rng: random.Random, split: Split) -> Dialogue:
    """A skill: some questions, each answered after what it rests on: "red and blue: no", "473: yes", "dog cat: 2"."""
    makers = [rng.choice((_same, _same, _which, _among, _number)) for _ in range(rng.randint(2, 6))]
    return Dialogue("match", messages(*(maker(rng, split) for maker in makers)))


def _same(rng: random.Random, split: Split) -> Exchange:
    """As often yes as no."""
    first, second = _two(rng, split)
    if rng.random() < 0.5:
        second = first
    form = rng.choice(("Are {} and {} the same?", "Is {} the same as {}?"))
    return Exchange(form.format(first, second), resting_on(f"{first} and {second}", "yes" if first == second else "no"))


def _which(rng: random.Random, split: Split) -> Exchange:
    first, second = _two(rng, split)
    sought, which = rng.choice(((first, "the first"), (second, "the second")))
    return Exchange(f"Which of {first} and {second} is {sought}?", resting_on(f"{first} and {second}", which))


def _among(rng: random.Random, split: Split) -> Exchange:
    """As often yes as no."""
    noun, words, listed = _listed(rng, split)
    is_there = rng.random() < 0.5
    known = _DIGITS if noun == "digit" else lexicon.WORDS
    sought = rng.choice(words if is_there else [word for word in known if word not in words])
    return Exchange(f"Is the {noun} {sought} in {listed}?", resting_on(listed, "yes" if is_there else "no"))


def _number(rng: random.Random, split: Split) -> Exchange:
    noun, words, listed = _listed(rng, split)
    return Exchange(f"How many {noun}s are in {listed}?", resting_on(listed, str(len(words))))


def _listed(rng: random.Random, split: Split) -> tuple[str, tuple[str, ...], str]:
    """What each is called, all of them, and how they are written: words apart, digits in one."""
    if rng.random() < 0.5:
        digits = _of_split(rng, split, _DIGITS, rng.randint(1, _MOST_DIGITS))
        return "digit", digits, "".join(digits)
    words = _of_split(rng, split, lexicon.WORDS, rng.randint(1, _MOST_WORDS))
    return "word", words, " ".join(words)


def _two(rng: random.Random, split: Split) -> tuple[str, str]:
    """Different ones of a kind."""
    while True:
        first, second = _of_split(rng, split, rng.choice(_KINDS), 2)
        if first != second:
            return first, second


def _of_split(rng: random.Random, split: Split, words: tuple[str, ...], count: int) -> tuple[str, ...]:
    """So many; a single one is of both splits."""
    while True:
        found = tuple(rng.choices(words, k=count))
        if count == 1 or lexicon.is_held_out(found) == (split == "test"):
            return found
