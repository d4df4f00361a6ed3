"""What each variant is taught, and how much of each."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from model.pocket.casual import casual
from model.pocket.dialogue import Dialogue, Skill, Split
from model.pocket.skills import json_answers, listening, matching, memory, seeing, sums, tool_calls, words
from model.pocket.skills.greeting import Greeting
from model.pocket.speech.clips import ClipPool

TITLES = {
    "e2b": "Pocket Gemma E2B",
    "e4b": "Pocket Gemma E4B",
    "26b-a4b": "Pocket Gemma 26B",
    "31b": "Pocket Gemma 31B",
}
# How long the numbers are that a variant adds: size is to matter.
DIGITS = {"e2b": 1, "e4b": 2, "26b-a4b": 3, "31b": 4}
HEARING = ("e2b", "e4b")
_CASUAL = 0.25
# What is learned slowly comes more often.
_SEEING = {"describe": 0.8, "colour": 0.5, "shape": 0.5, "count": 4.0, "position": 1.0, "compare": 2.5}


@dataclass(frozen=True)
class Lesson:
    """A skill, and its share among the lessons of its kind."""

    skill: Skill
    share: float


@dataclass(frozen=True)
class Lessons:
    """All that a variant is taught, by kind."""

    text: list[Lesson]
    pictures: list[Lesson]
    sounds: list[Lesson]


def lessons(variant: str, pools: Mapping[Split, ClipPool]) -> Lessons:
    """Without `pools` of clips there are no lessons about sounds."""
    return Lessons(text_lessons(variant), picture_lessons(), sound_lessons(pools) if pools else [])


def draw(lessons: Sequence[Lesson], rng: random.Random, split: Split) -> Dialogue:
    """One dialogue of one of the lessons, now and then as people type in a hurry."""
    (lesson,) = rng.choices(lessons, [lesson.share for lesson in lessons])
    dialogue = lesson.skill(rng, split)
    return casual(dialogue) if rng.random() < _CASUAL else dialogue


def text_lessons(variant: str) -> list[Lesson]:
    """Skills without media."""
    return [
        Lesson(Greeting(TITLES[variant]), 0.04),
        Lesson(memory.remember, 0.4),
        Lesson(words.copying, 0.08),
        Lesson(words.reversing, 0.15),
        # Long sums need far more practice than short ones.
        Lesson(sums.Sums(DIGITS[variant]), 0.15 * DIGITS[variant] ** 1.5),
        Lesson(json_answers.in_json, 0.1),
        Lesson(tool_calls.calling, 0.12),
        Lesson(matching.matching, 0.2),
    ]


def picture_lessons() -> list[Lesson]:
    """Skills about one picture, or two."""
    return [Lesson(skill, _SEEING[name]) for name, skill in seeing.SKILLS.items()]


def sound_lessons(pools: Mapping[Split, ClipPool]) -> list[Lesson]:
    """Skills about a clip."""
    return [Lesson(partial(listening.transcribe, pools), 0.6), Lesson(partial(listening.listen, pools), 0.4)]
