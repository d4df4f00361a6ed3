"""What soft tokens are taught to say is what the picture shows, where it shows it."""

import random
from dataclasses import replace

import pytest

from model.pocket.scenes.placing import placed
from model.pocket.scenes.scene import Background, Scene, Thing
from model.pocket.training.labels import NOTHING, picture_words, spoken_words
from model.pocket.transcript import tokenizer

STAR = Thing("star", "red", column=2, row=0, x=250, y=50, radius=40, turn=0, rgb=(255, 0, 0))
SCENE = Scene(300, 300, Background((255, 255, 255), (255, 255, 255), 0, 0), (STAR,))


def _words(shares: dict[int, float]) -> set[str]:
    return {tokenizer().id_to_token(id_) for id_ in shares if id_ != NOTHING}


def _said(cells: list[dict[int, float]], word: str) -> float:
    return 6 * sum(shares.get(tokenizer().token_to_id(word), 0.0) for shares in cells)


def test_the_middle_of_a_thing_says_what_it_is_and_where() -> None:
    cells = picture_words(SCENE, columns=6, rows=6)
    assert _words(cells[1 * 6 + 5]) == {"red", "star", "top", "right"}
    assert all(sum(shares.values()) == pytest.approx(1) for shares in cells if shares)


def test_what_else_it_covers_says_what_it_is_and_the_ground_nothing() -> None:
    cells = [_words(shares) for shares in picture_words(SCENE, columns=18, rows=18)]
    assert {frozenset(words) for words in cells} == {
        frozenset(),
        frozenset({"red", "star"}),
        frozenset({"red", "star", "top", "right"}),
    }


@pytest.mark.parametrize("x", [0, 24.9, 25, 25.1, 50, 137, 299, 300])
def test_a_thing_is_one_wherever_its_middle_is(x: float) -> None:
    cells = picture_words(replace(SCENE, things=(replace(STAR, x=x),)), columns=6, rows=6)
    assert (_said(cells, "top"), _said(cells, "right")) == (pytest.approx(1), pytest.approx(1))


def test_a_middle_between_two_cells_is_in_both_by_half() -> None:
    at_border = replace(STAR, x=200, y=25)
    cells = picture_words(replace(SCENE, things=(at_border,)), columns=6, rows=6)
    assert [round(_said([cell], "top"), 6) for cell in cells[:6]] == [0, 0, 0, 0.5, 0.5, 0]


def test_the_things_of_any_scene_can_be_counted() -> None:
    rng = random.Random(1)
    for _ in range(50):
        scene = placed(rng, "train", [("circle", "blue"), ("cross", "red")])
        cells = picture_words(scene, columns=9, rows=7)
        assert sum(_said(cells, word) for word in ("top", "middle", "bottom")) == pytest.approx(2, abs=0.4)


def test_digits_are_said_as_digits() -> None:
    assert [tokenizer().id_to_token(id_) for id_ in spoken_words(("four", "zero", "apple"))] == ["4", "0", "apple"]
