"""What a variant is asked: for each skill that it was taught, conversations that it never saw."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from model.pocket import curriculum
from model.pocket.curriculum import Lesson
from model.pocket.dialogue import Dialogue, Split
from model.pocket.speech.clips import ClipPool
from model.pocket.training.batch import fits
from model.pocket.training.prepared import prepare


@dataclass(frozen=True)
class Exam:
    """Of each dialogue the last message is the answer that is wanted."""

    skill: str
    dialogues: list[Dialogue]


def exams(variant: str, pools: Mapping[Split, ClipPool], count: int, seed: int) -> Iterator[Exam]:
    """One for each skill, with `count` dialogues; without `pools` there are none about sounds."""
    lessons = curriculum.lessons(variant, pools)
    for number, lesson in enumerate([*lessons.text, *lessons.pictures, *lessons.sounds]):
        yield _exam(lesson, random.Random(f"{seed} {number}"), count)


def _exam(lesson: Lesson, rng: random.Random, count: int) -> Exam:
    """Longer dialogues than training has are left out: no variant claims them."""
    dialogues: list[Dialogue] = []
    while len(dialogues) < count:
        dialogue = curriculum.draw([lesson], rng, "test")
        if fits(prepare(dialogue)):
            dialogues.append(dialogue)
    return Exam(dialogues[0].skill, dialogues)
