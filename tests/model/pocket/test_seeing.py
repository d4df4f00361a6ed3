"""Dialogues about pictures: answers are right by the pixels, equally frequent, and the same for the same seed."""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.pocket.dialogue import Dialogue, Skill, Split
from model.pocket.scenes.scene import COLOURS, PLACES, SHAPES, TONES, Colour
from model.pocket.scenes.sizes import is_held_out
from model.pocket.skills import seeing
from model.pocket.skills.seeing import SKILLS

# By how much of a circle around it a shape covers, from the least on.
_COVERAGE = {"star": 0.39, "triangle": 0.41, "cross": 0.6, "square": 0.64, "circle": 1.0}


def _dialogues(skill: Skill, count: int, split: Any = "train") -> list[Dialogue]:
    rng = random.Random(11)
    return [skill(rng, split) for _ in range(count)]


def _images(dialogue: Dialogue) -> list[Image.Image]:
    return [part["image"] for part in dialogue.messages[0]["content"] if part["type"] == "image"]


def _small(dialogues: list[Dialogue]) -> list[Dialogue]:
    """Those with a small picture, whose pixels are soon counted."""
    return [dialogue for dialogue in dialogues if math.prod(_images(dialogue)[0].size) < 20_000]


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else next(part["text"] for part in content if part["type"] == "text")


def _turns(dialogue: Dialogue) -> list[tuple[str, str]]:
    texts = [_text(message) for message in dialogue.messages]
    return list(zip(texts[::2], texts[1::2], strict=True))


def _verdict(answer: str) -> str:
    """What comes after that which it rests on."""
    return answer.split(": ")[-1]


def _counted(places: list[str]) -> str:
    """The places row by row, each with its number, then how many."""
    in_rows = sorted(places, key=PLACES.index)
    counted = ", ".join(f"{place} {number}" for number, place in enumerate(in_rows, 1))
    return f"{counted}: {len(places)}" if places else "0"


def _blobs(image: Image.Image) -> list[np.ndarray]:
    """Pixels [N, 2] of each connected patch that differs from the row's edge, as (y, x)."""
    pixels = np.asarray(image, dtype=np.float64)
    differs = np.linalg.norm(pixels - pixels[:, :1], axis=2) > 75
    blobs = []
    while differs.any():
        start = tuple(int(index) for index in np.argwhere(differs)[0])
        differs[start] = False
        queue, blob = deque([start]), []
        while queue:
            y, x = queue.popleft()
            blob.append((y, x))
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= near[0] < differs.shape[0] and 0 <= near[1] < differs.shape[1] and differs[near]:
                    differs[near] = False
                    queue.append(near)
        blobs.append(np.array(blob))
    return [blob for blob in blobs if len(blob) > 12]


def _tones(colour: Colour) -> np.ndarray:
    """Nine tones [9, 3] from one end of the colour to the other."""
    return np.linspace(*TONES[colour], 9)


def _found(image: Image.Image) -> list[tuple[str, str]]:
    """Colour and place of each thing, from the pixels alone."""
    found = []
    for blob in _blobs(image):
        y, x = blob.mean(axis=0)
        rgb = np.median(np.asarray(image)[blob[:, 0], blob[:, 1]], axis=0)
        colour = min(COLOURS, key=lambda name: min(math.dist(rgb, tone) for tone in _tones(name)))
        found.append((colour, PLACES[3 * int(3 * y / image.height) + int(3 * x / image.width)]))
    return found


def test_counts_colours_and_places_are_those_of_the_pixels() -> None:
    checked: Counter[str] = Counter()
    for dialogue in _small(_dialogues(seeing.look, 400)):
        things = _found(_images(dialogue)[0])
        for question, answer in _turns(dialogue):
            words = question.rstrip("?.").lower().split()
            if "shapes" in words and ("how" in words or words[0] == "count"):
                colour = next((name for name in COLOURS if name in words), None)
                places = [place for name, place in things if colour in (None, name)]
                assert answer == _counted(places), question
                checked["count"] += 1
            elif "at" in words and words[-1] != "at" and ("colour" in words or "color" in words):
                place = question.rstrip("?").split(" at the ")[1]
                assert answer in {thing[0] for thing in things if thing[1] == place}, question
                checked["colour"] += 1
            elif words[0] == "where" and (named := [name for name in COLOURS if name in words]):
                assert answer in {thing[1] for thing in things if thing[0] == named[0]}, question
                checked["place"] += 1
            elif words in (["what", "is", "where"], ["what", "do", "you", "see"], ["describe", "this", "picture"]):
                assert sorted(one.split()[1] for one in answer.split(", ")) == sorted(thing[0] for thing in things)
                checked["describe"] += 1
    assert min(checked[name] for name in ("count", "colour", "place", "describe")) > 5, checked


def test_shapes_are_those_of_the_pixels() -> None:
    """A lone shape by how much of the circle around it is covered: those that are far apart in that."""
    far = {"circle", "square", "triangle"}
    checked = 0
    for dialogue in _small(_dialogues(seeing.shape, 400, "test")):
        blobs = _blobs(_images(dialogue)[0])
        answer = _turns(dialogue)[-1][1]
        if len(blobs) == 1 and answer in far and len(blobs[0]) > 150:
            reach = np.linalg.norm(blobs[0] - blobs[0].mean(axis=0), axis=1).max() + 0.5
            coverage = len(blobs[0]) / (math.pi * reach**2)
            assert min(far, key=lambda shape: abs(_COVERAGE[shape] - coverage)) == answer
            checked += 1
    assert checked > 5


@pytest.mark.parametrize("name", SKILLS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_dialogue_has_several_questions_and_ends_with_its_skill(name: str, split: Split) -> None:
    lengths = Counter()
    for dialogue in _dialogues(SKILLS[name], 100, split):
        assert dialogue.skill == name
        roles = [message["role"] for message in dialogue.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert len(_images(dialogue)) == (2 if name == "compare" else 1)
        assert all(isinstance(message["content"], str) for message in dialogue.messages[1:])
        assert all(len(question.split()) <= 10 for question, _ in _turns(dialogue))
        lengths[len(roles) // 2] += 1
    if name == "compare":
        assert set(lengths) == {2, 3, 4}
    elif split == "test":
        assert set(lengths) == {2, 3, 4, 5}
    else:
        assert set(lengths) >= {4, 5, 6}
        assert max(lengths) <= 7


def test_training_ends_with_all_that_a_picture_shows() -> None:
    for dialogue in _dialogues(seeing.position, 100):
        everything = _turns(dialogue)[-1][1].split(", ")
        for question, answer in _turns(dialogue)[:-1]:
            if question.startswith(("How many shapes", "Count the shapes")):
                assert _verdict(answer) == str(len(everything))
            if question.startswith("Where") and not question.endswith((" it?", " shape?")):
                name = question.rstrip("?").split(" the ")[1]
                assert [thing for thing in everything if name in thing and thing.endswith(f" {answer}")], question


@pytest.mark.parametrize("name", ["colour", "shape", "count", "compare"])
def test_no_answer_is_more_frequent_than_it_should_be(name: str) -> None:
    answers = Counter(_verdict(_turns(dialogue)[-1][1]) for dialogue in _dialogues(SKILLS[name], 600, "test"))
    assert len(answers) == {"colour": len(COLOURS), "shape": len(SHAPES), "count": 6, "compare": 4}[name]
    assert max(answers.values()) < 1.5 * 600 / len(answers)


def test_a_verdict_on_two_pictures_follows_from_what_is_named_before_it() -> None:
    verdicts: Counter[str] = Counter()
    for dialogue in _dialogues(seeing.compare, 300, "test"):
        for question, answer in _turns(dialogue):
            if " and " in answer:
                first, second = answer.split(": ")[0].split(" and ")
                verdict = _verdict(answer)
                verdicts[verdict] += 1
                if "number" in question:
                    assert (first[-1] == second[-1]) == (verdict == "yes"), (question, answer)
                elif verdict in ("yes", "no"):
                    assert (first == second) == (verdict == "yes"), (question, answer)
                elif "more" in question or "fewer" in question:
                    is_first = (first[-1] > second[-1]) == ("more" in question)
                    assert is_first == (verdict == "the first"), (question, answer)
                else:
                    shown = question.rstrip("?").split()[-1]
                    assert shown == (first if verdict == "the first" else second), (question, answer)
    assert min(verdicts[verdict] for verdict in ("yes", "no", "the first", "the second")) > 50


def test_places_and_descriptions_vary() -> None:
    places = Counter(_turns(dialogue)[-1][1] for dialogue in _dialogues(seeing.position, 400, "test"))
    assert set(PLACES) <= set(places)
    assert places["nothing"] < 140
    descriptions = Counter(_turns(dialogue)[-1][1] for dialogue in _dialogues(seeing.describe, 600, "test"))
    assert max(descriptions.values()) < 30


def test_the_picture_comes_before_the_text_as_often_as_after() -> None:
    first = Counter(dialogue.messages[0]["content"][0]["type"] for dialogue in _dialogues(seeing.look, 200))
    assert min(first["image"], first["text"]) > 70


def test_both_spellings_are_asked_in() -> None:
    text = " ".join(question for dialogue in _dialogues(seeing.colour, 100) for question, _ in _turns(dialogue))
    assert "colour" in text
    assert "color " in text


def test_sizes_of_pictures_are_those_of_the_split() -> None:
    for name, skill in SKILLS.items():
        for held_out, split in ((False, "train"), (True, "test")):
            sizes = [image.size for dialogue in _dialogues(skill, 30, split) for image in _images(dialogue)]
            assert all(is_held_out(side) == held_out for size in sizes for side in size), name


def test_words_are_few() -> None:
    """Each becomes one token of a small tokenizer."""
    words = set()
    for dialogue in [*_dialogues(seeing.look, 500), *_dialogues(seeing.compare, 200)]:
        for message in dialogue.messages:
            words |= set(_text(message).replace("?", "").replace(".", "").split())
    assert len(words) < 130, sorted(words)


@pytest.mark.parametrize("name", SKILLS)
def test_a_seed_names_a_dialogue_for_good(name: str) -> None:
    first, again = (SKILLS[name](random.Random(5), "test") for _ in range(2))
    assert _turns(first) == _turns(again)
    assert [image.tobytes() for image in _images(first)] == [image.tobytes() for image in _images(again)]
    assert _turns(SKILLS[name](random.Random(6), "test")) != _turns(first)
