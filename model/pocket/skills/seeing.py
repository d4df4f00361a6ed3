"""Pictures: what is in them, which colour, shape, how many and where; and two of them compared.

Each skill asks some questions about one picture, or pair, of which the last is of that skill; in training all that can
be seen is said after that, where no other answer can be read from it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from model.pocket.dialogue import Dialogue, Message, Skill, Split
from model.pocket.scenes.asking import ONE_PICTURE, whole
from model.pocket.scenes.comparing import TWO_PICTURES, Pair
from model.pocket.scenes.drawing import draw
from model.pocket.scenes.placing import different_kinds, one_kind, placed, some_kinds
from model.pocket.scenes.question import Question, QuestionKind
from model.pocket.scenes.scene import Kind, Scene

Seen = TypeVar("Seen")

# So many questions come before the last. In training one picture is asked about more often: there seeing is dear.
_OTHERS: dict[Split, tuple[int, int]] = {"train": (2, 5), "test": (1, 4)}
_PAIR_OTHERS = (1, 3)
# In training half of these are about how many there are, which takes longest to learn.
_STUDIED_KINDS = ONE_PICTURE + 2 * tuple(kind for kind in ONE_PICTURE if kind.skill == "count")
# So often does training draw things that all differ, of which one has to be found.
_STUDIED = 0.5
_MAX_COMPARED = 3
# So often are two pictures alike in shape, or in colour, beyond chance: else one waited long for a "yes".
_ALIKE = 0.35


def describe(rng: random.Random, split: Split) -> Dialogue:
    """Asks at last what is in the picture: "a red circle in the middle"."""
    return _about_one(rng, split, "describe")


def colour(rng: random.Random, split: Split) -> Dialogue:
    """Asks at last for a colour: "red"."""
    return _about_one(rng, split, "colour")


def shape(rng: random.Random, split: Split) -> Dialogue:
    """Asks at last for a shape: "circle"."""
    return _about_one(rng, split, "shape")


def count(rng: random.Random, split: Split) -> Dialogue:
    """Asks at last how many there are: "0", "top left 1, middle 2: 2"."""
    return _about_one(rng, split, "count")


def position(rng: random.Random, split: Split) -> Dialogue:
    """Asks at last where something is, "top left", or what is somewhere: "a red circle", "nothing"."""
    return _about_one(rng, split, "position")


def compare(rng: random.Random, split: Split) -> Dialogue:
    """Two pictures; asks at last whether they are alike, or which it is: "red and blue: no"."""
    kinds = [kind for kind in TWO_PICTURES if kind.skill == "compare"]
    kind = rng.choice(kinds)
    pair, last = _asked(rng, kind, partial(_pair, rng, split))
    return _dialogue(rng, "compare", [*_others(rng, pair, TWO_PICTURES, last, rng.randint(*_PAIR_OTHERS)), last], pair)


def look(rng: random.Random, split: Split) -> Dialogue:
    """Any of the skills that are about one picture, each as often as the others. To train on."""
    return rng.choice((describe, colour, shape, count, position))(rng, split)


# By the name that their dialogues have.
SKILLS: dict[str, Skill] = {
    "describe": describe,
    "colour": colour,
    "shape": shape,
    "count": count,
    "position": position,
    "compare": compare,
}


def _about_one(rng: random.Random, split: Split, skill: str) -> Dialogue:
    kind = rng.choice([kind for kind in ONE_PICTURE if kind.skill == skill])
    scene, last = _asked(rng, kind, lambda: placed(rng, split, _kinds(rng, split)))
    kinds = _STUDIED_KINDS if split == "train" else ONE_PICTURE
    asked = [
        *_others(rng, scene, kinds, last, rng.randint(*_OTHERS[split])),
        last,
        *([whole(scene)] if split == "train" and skill != "describe" else []),
    ]
    return _dialogue(rng, skill, asked, [scene])


def _kinds(rng: random.Random, split: Split) -> list[Kind]:
    is_study = split == "train" and rng.random() < _STUDIED
    return different_kinds(rng) if is_study else some_kinds(rng)


def _pair(rng: random.Random, split: Split) -> Pair:
    first, second = one_kind(rng, 1)[0], one_kind(rng, 1)[0]
    second_shape = first[0] if rng.random() < _ALIKE else second[0]
    second_colour = first[1] if rng.random() < _ALIKE else second[1]
    counts = [rng.randint(1, _MAX_COMPARED) for _ in range(2)]
    return (
        placed(rng, split, [first] * counts[0]),
        placed(rng, split, [(second_shape, second_colour)] * counts[1]),
    )


def _asked(rng: random.Random, kind: QuestionKind[Seen], see: Callable[[], Seen]) -> tuple[Seen, Question]:
    """Something to see that fits the answer, which is drawn first: so no answer is more frequent than another."""
    answer = rng.choice(kind.answers) if kind.answers else None
    while True:
        seen = see()
        fitting = [question for question in kind.find(seen) if answer in (None, question.verdict)]
        if fitting:
            return seen, rng.choice(fitting)


def _others(
    rng: random.Random, seen: Seen, kinds: Sequence[QuestionKind[Seen]], last: Question, number: int
) -> list[Question]:
    """So many further questions about what is seen, if there are, each of another kind and none of them twice."""
    found: list[Question] = []
    for kind in rng.sample(kinds, len(kinds)):
        fitting = [question for question in kind.find(seen) if question not in (last, *found)]
        if fitting and len(found) < number:
            verdict = rng.choice(sorted({question.verdict for question in fitting}))
            found.append(rng.choice([question for question in fitting if question.verdict == verdict]))
    return found


def _dialogue(rng: random.Random, skill: str, asked: Sequence[Question], scenes: Sequence[Scene]) -> Dialogue:
    messages: list[Message] = []
    for question in asked:
        messages.append({"role": "user", "content": question.worded(rng)})
        messages.append({"role": "assistant", "content": question.answer})
    parts = [{"type": "image", "image": draw(scene), "scene": scene} for scene in scenes]
    text = {"type": "text", "text": messages[0]["content"]}
    messages[0]["content"] = [*parts, text] if rng.random() < 0.5 else [text, *parts]
    return Dialogue(skill, messages)
