"""Adds two numbers; how long they may be is what makes one variant better than another."""

import random
from dataclasses import dataclass

from model.pocket.dialogue import Dialogue, Split
from model.pocket.open_words import is_held_out
from model.pocket.skills.exchange import Exchange, messages

_FORMS = (
    "What is {} + {}?",
    "What is {} plus {}?",
    "{} + {}",
    "{}+{}",
    "{} + {} =",
    "Add {} and {}.",
    "How much is {} + {}?",
)


def add(rng: random.Random, split: Split, max_digits: int) -> Exchange:
    """Two numbers of up to `max_digits` digits. Pairs of long numbers are kept for tests; short ones are too few."""
    while True:
        pair = (
            rng.randrange(10 ** rng.choice(_LENGTHS[max_digits])),
            rng.randrange(10 ** rng.choice(_LENGTHS[max_digits])),
        )
        if max(pair) < 10 or is_held_out(f"{pair[0]}+{pair[1]}") == (split == "test"):
            return Exchange(rng.choice(_FORMS).format(*pair), str(sum(pair)))


# Long numbers need the most practice.
_LENGTHS = {1: (1,), 2: (1, 2, 2), 3: (1, 2, 3, 3, 3), 4: (1, 2, 3, 3, 4, 4, 4, 4)}


@dataclass(frozen=True)
class Sums:
    """A skill: a few sums of up to `max_digits` digits, one after the other."""

    max_digits: int

    def __call__(self, rng: random.Random, split: Split) -> Dialogue:
        """One to eight of them."""
        return Dialogue("sum", messages(*(add(rng, split, self.max_digits) for _ in range(rng.randint(1, 8)))))
