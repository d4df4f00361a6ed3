"""Copies words, and spells them backwards."""

import random

from model.pocket import open_words
from model.pocket.dialogue import Dialogue, Split
from model.pocket.skills.exchange import Exchange, messages

_COPY = ("Copy the word {}.", "Repeat the word {}.", "Say {}.", "Repeat after me: {}", "Copy this: {}", "Write {}.")
_REVERSE = ("Reverse the word {}.", "Spell {} backwards.", "Write {} backwards.", "Reverse {}.", "Say {} backwards.")


def copy(rng: random.Random, split: Split) -> Exchange:
    """One word, or two or three after "repeat after me"."""
    form = rng.choice(_COPY)
    count = rng.randint(1, 3) if form.endswith("{}") else 1
    said = " ".join(open_words.word(rng, split) for _ in range(count))
    return Exchange(form.format(said), said)


def reverse(rng: random.Random, split: Split) -> Exchange:
    """One word, its last letter first."""
    word = open_words.word(rng, split)
    return Exchange(rng.choice(_REVERSE).format(word), word[::-1])


def copying(rng: random.Random, split: Split) -> Dialogue:
    """A skill: a few words to copy."""
    return Dialogue("copy", messages(*(copy(rng, split) for _ in range(rng.randint(1, 3)))))


def reversing(rng: random.Random, split: Split) -> Dialogue:
    """A skill: a few words to reverse, perhaps one to copy before."""
    exchanges = [reverse(rng, split) for _ in range(rng.randint(1, 4))]
    return Dialogue("reverse", messages(*([copy(rng, split)] if rng.random() < 0.25 else []), *exchanges))
