"""What soft tokens are taught to say is what the picture shows, where it shows it."""

import random
from collections import Counter

from model.pocket.scenes.placing import placed
from model.pocket.scenes.scene import Background, Scene, Thing
from model.pocket.training.labels import picture_words, spoken_words
from model.pocket.transcript import tokenizer

STAR = Thing("star", "red", column=2, row=0, x=250, y=50, radius=40, turn=0, rgb=(255, 0, 0))
SCENE = Scene(300, 300, Background((255, 255, 255), (255, 255, 255), 0, 0), (STAR,))


def _words(ids: tuple[int, ...]) -> set[str]:
    return {tokenizer().id_to_token(id_) for id_ in ids}


def test_the_middle_of_a_thing_says_what_it_is_and_where() -> None:
    cells = picture_words(SCENE, columns=6, rows=6)
    assert _words(cells[1 * 6 + 5]) == {"red", "star", "top", "right"}


def test_what_else_it_covers_says_what_it_is_and_the_ground_nothing() -> None:
    cells = [_words(ids) for ids in picture_words(SCENE, columns=12, rows=12)]
    assert Counter(map(len, cells))[4] == 1
    assert {frozenset(words) for words in cells} == {
        frozenset(),
        frozenset({"red", "star"}),
        frozenset({"red", "star", "top", "right"}),
    }


def test_every_thing_of_any_scene_has_its_middle() -> None:
    rng = random.Random(1)
    for _ in range(50):
        scene = placed(rng, "train", [("circle", "blue"), ("cross", "red")])
        cells = picture_words(scene, columns=9, rows=7)
        assert sum(len(set(ids)) == 4 for ids in cells) == 2


def test_digits_are_said_as_digits() -> None:
    assert [tokenizer().id_to_token(id_) for id_ in spoken_words(("four", "zero", "apple"))] == ["4", "0", "apple"]
