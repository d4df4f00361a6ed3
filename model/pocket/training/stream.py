"""The batches of a training run: step by step the same for a seed, whatever was done before."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from torch.utils.data import Dataset

from model.pocket.curriculum import Lesson, Lessons, draw
from model.pocket.training.batch import ROW, Batch, fits, pack
from model.pocket.training.prepared import Prepared, prepare


@dataclass(frozen=True)
class Portions:
    """What a step holds: rows of tokens, and how many dialogues with a picture and with a sound are among them.

    The first `words_steps` have neither: what is said of pictures is learned sooner by who can write.
    """

    rows: int
    pictures: int
    sounds: int
    words_steps: int = 0

    def at(self, step: int) -> tuple[int, int]:
        """Pictures and sounds of a step, counted from 0."""
        return (self.pictures, self.sounds) if step >= self.words_steps else (0, 0)


class BatchStream(Dataset[Batch]):
    """Batch number `step` by index. Text fills what media leave free."""

    def __init__(self, seed: int, portions: Portions, lessons: Lessons) -> None:
        self._seed, self._portions, self._lessons = seed, portions, lessons

    def __getitem__(self, step: int) -> Batch:
        rng, (pictures, sounds) = random.Random(f"{self._seed} {step}"), self._portions.at(step)
        media = [
            *_some(pictures, rng, self._lessons.pictures),
            *_some(sounds if self._lessons.sounds else 0, rng, self._lessons.sounds),
        ]
        text = self._filling(rng, self._portions.rows * ROW - _length(media))
        return pack([*media, *text], self._portions.rows)

    def _filling(self, rng: random.Random, room: int) -> list[Prepared]:
        """As much text as there is room for: what is drawn last may find none."""
        text: list[Prepared] = []
        while _length(text) < room:
            text += _some(1, rng, self._lessons.text)
        return text


def _length(prepared: list[Prepared]) -> int:
    return sum(len(one.tokens) for one in prepared)


def _some(count: int, rng: random.Random, lessons: Sequence[Lesson]) -> list[Prepared]:
    def endless() -> Iterator[Prepared]:
        while True:
            prepared = prepare(draw(lessons, rng, "train"), rng)
            if fits(prepared):
                yield prepared

    return list(islice(endless(), count))
