"""`python -m model.pocket.lexicon`: collects the words that the skills use, each of which is to be one token."""

import random
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from model.pocket import curriculum, open_words
from model.pocket.curriculum import Lesson
from model.pocket.speech.clips import ClipPool
from model.pocket.speech.lexicon import WORDS
from model.pocket.transcript import texts

_SAMPLES = 600
_FILE = Path(__file__).parent / "lexicon.txt"
# What soft tokens say beside words of the dialogues.
_LABELS = ("centre",)


def collect(samples: int = _SAMPLES) -> list[str]:
    """Every run of letters in some hundred dialogues of each skill, with made-up words left out; sorted."""
    with open_words.blank():
        found = {word for text in _texts(samples) for word in re.findall(r"[A-Za-z]+", text)}
    # People begin with a small letter too.
    return sorted(found | {word.lower() for word in found} | set(WORDS) | set(_LABELS))


def _texts(samples: int) -> Iterator[str]:
    for lesson in _lessons():
        rng = random.Random(0)
        for _ in range(samples):
            yield from texts(lesson.skill(rng, "train"))


def _lessons() -> list[Lesson]:
    text = [lesson for variant in curriculum.TITLES for lesson in curriculum.text_lessons(variant)]
    with tempfile.TemporaryDirectory() as folder:
        pool = ClipPool(Path(folder), "train", count=100)
    return [*text, *curriculum.picture_lessons(), *curriculum.sound_lessons({"train": pool, "test": pool})]


if __name__ == "__main__":
    _FILE.write_text("\n".join(collect()) + "\n", encoding="utf-8")
