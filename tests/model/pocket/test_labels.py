"""What soft tokens are taught to say is what the picture shows, where it shows it."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from model.pocket.scenes.placing import MAX_THINGS, any_kinds, placed
from model.pocket.scenes.scene import COLOURS, Background, Scene, Thing
from model.pocket.training.labels import Shares, place_words, spoken_words, surface_words
from model.pocket.transcript import tokenizer

STAR = Thing("star", "red", column=2, row=0, x=250, y=50, radius=40, turn=0, rgb=(255, 0, 0))
SCENE = Scene(300, 300, Background((255, 255, 255), (255, 255, 255), 0, 0), (STAR,))
GRIDS = [(6, 6), (8, 8), (9, 7), (4, 14), (17, 4)]


def _words(shares: Iterable[int]) -> set[str]:
    return {tokenizer().id_to_token(id_).removeprefix("▁") for id_ in shares}


def _saying(cells: list[Shares], word: str) -> list[int]:
    return [index for index, shares in enumerate(cells) if word in _words(shares)]


def test_the_middle_of_a_place_says_what_is_there() -> None:
    cells = place_words(SCENE, columns=6, rows=6)
    assert _words(cells[1 * 6 + 5]) == {"red", "star", "shape", "top", "right"}
    assert _words(cells[3 * 6 + 3]) == {"nothing", "middle", "centre"}
    assert sum(map(bool, cells)) == 9


@pytest.mark.parametrize("shift", [(-20, 0), (0, 0), (24, -13)])
def test_a_place_says_the_same_wherever_in_it_a_thing_is(shift: tuple[int, int]) -> None:
    moved = replace(SCENE, things=(replace(STAR, x=STAR.x + shift[0], y=STAR.y + shift[1]),))
    assert place_words(moved, columns=8, rows=8) == place_words(SCENE, columns=8, rows=8)


@pytest.mark.parametrize(("columns", "rows"), GRIDS)
def test_each_thing_is_said_once(columns: int, rows: int) -> None:
    rng = random.Random(1)
    for _ in range(20):
        scene = placed(rng, "train", any_kinds(rng))
        cells = place_words(scene, columns, rows)
        assert len(_saying(cells, "shape")) == len(scene.things) <= MAX_THINGS
        assert len(_saying(cells, "nothing")) == 9 - len(scene.things)
        for colour in COLOURS:
            assert len(_saying(cells, colour)) == sum(thing.colour == colour for thing in scene.things)


@pytest.mark.parametrize(("columns", "rows"), GRIDS)
def test_places_are_in_reading_order(columns: int, rows: int) -> None:
    cells = place_words(SCENE, columns, rows)
    for words, size, stride in (
        (("top", "middle", "bottom"), rows, columns),
        (("left", "centre", "right"), columns, 1),
    ):
        found = [{cell // stride % size for cell in _saying(cells, word)} for word in words]
        assert [len(places) for places in found] == [1, 1, 1]
        assert sorted(set.union(*found)) == [place for places in found for place in places]


@pytest.mark.parametrize("label", [place_words, surface_words])
def test_shares_are_one_in_sum(label: Callable[[Scene, int, int], list[Shares]]) -> None:
    cells = label(SCENE, 9, 9)
    assert all(sum(shares.values()) == pytest.approx(1) for shares in cells if shares)


def test_what_a_thing_covers_says_what_it_is_and_the_ground_nothing() -> None:
    cells = surface_words(SCENE, columns=18, rows=18)
    assert {frozenset(_words(shares)) for shares in cells} == {frozenset(), frozenset({"red", "star"})}
    covered = [divmod(index, 18) for index, shares in enumerate(cells) if shares]
    assert {row for row, _ in covered} <= set(range(6))
    assert {column for _, column in covered} <= set(range(12, 18))


def test_digits_are_said_as_digits_and_words_as_in_a_sentence() -> None:
    assert [tokenizer().id_to_token(id_) for id_ in spoken_words(("four", "zero", "apple"))] == ["4", "0", "▁apple"]
