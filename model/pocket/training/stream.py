"""The batches of a training run: step by step the same for a seed, whatever was done before."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

from torch.utils.data import Dataset

from model.pocket.curriculum import Lesson, Lessons, draw
from model.pocket.training.batch import ROW, Batch, fits, pack
from model.pocket.training.prepared import Prepared, prepare_to_learn


@dataclass(frozen=True)
class Stage:
    """So many steps, and what each of them holds: how many dialogues with a picture and with a sound there are.

    Of the pictures a share, `thinned`, is laid down without its background.
    """

    steps: int
    pictures: int
    sounds: int
    thinned: float = 0.0


class BatchStream(Dataset[Batch]):
    """Batch number `step` by index, one stage after the other. Text fills what media leave free of the rows."""

    def __init__(self, seed: int, rows: int, stages: Sequence[Stage], lessons: Lessons) -> None:
        self._seed, self._rows, self._stages, self._lessons = seed, rows, stages, lessons

    def __len__(self) -> int:
        return sum(stage.steps for stage in self._stages)

    def __getitem__(self, step: int) -> Batch:
        rng, stage = random.Random(f"{self._seed} {step}"), self._stage(step)
        media = [
            *_some(stage.pictures, rng, self._lessons.pictures, stage.thinned),
            *_some(stage.sounds if self._lessons.sounds else 0, rng, self._lessons.sounds),
        ]
        text = self._filling(rng, self._rows * ROW - _length(media))
        return pack([*media, *text], self._rows)

    def _stage(self, step: int) -> Stage:
        ends = accumulate(stage.steps for stage in self._stages)
        return next(stage for stage, end in zip(self._stages, ends, strict=True) if step < end)

    def _filling(self, rng: random.Random, room: int) -> list[Prepared]:
        """As much text as there is room for: what is drawn last may find none."""
        text: list[Prepared] = []
        while _length(text) < room:
            text += _some(1, rng, self._lessons.text)
        return text


def _length(prepared: list[Prepared]) -> int:
    return sum(len(one.tokens) for one in prepared)


def _some(count: int, rng: random.Random, lessons: Sequence[Lesson], thinned: float = 0.0) -> list[Prepared]:
    def endless() -> Iterator[Prepared]:
        while True:
            prepared = prepare_to_learn(draw(lessons, rng, "train"), rng, thinned)
            if fits(prepared):
                yield prepared

    return list(islice(endless(), count))
