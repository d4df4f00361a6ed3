"""Rows hold whole dialogues, and none sees another."""

import torch

from model.pocket.tokenizer import SPECIALS
from model.pocket.training.batch import ROW, fits, pack
from model.pocket.training.prepared import Prepared

IMAGE = SPECIALS["<|image|>"]


def _dialogue(length: int, first: int = 7) -> Prepared:
    return Prepared([first] * length, [False] * (length - 1) + [True], [], [])


def test_positions_and_segments_begin_anew_with_each_dialogue() -> None:
    batch = pack([_dialogue(200), _dialogue(50, 8), _dialogue(100, 9)], rows=2)
    assert batch.tokens_RW.shape == (2, ROW)
    assert batch.segments_RW[0].unique_consecutive().tolist() == [1, 2, 0]
    assert batch.positions_RW[0, 199:202].tolist() == [199, 0, 1]
    assert batch.tokens_RW[1, :100].unique().tolist() == [9]
    assert int(batch.own_RW.sum()) == 3


def test_what_finds_no_room_is_left_out() -> None:
    assert int(pack([_dialogue(200), _dialogue(100)], rows=1).own_RW.sum()) == 1


def test_each_picture_is_a_block_of_its_own() -> None:
    two = Prepared([5, IMAGE, IMAGE, 6, IMAGE, 6], [False] * 6, [], [])
    one = Prepared([5, IMAGE], [False] * 2, [], [])
    blocks_W = pack([two, one], rows=1).blocks_RW[0, :8]
    assert (blocks_W >= 0).tolist() == [False, True, True, False, True, False, False, True]
    assert len(blocks_W[blocks_W >= 0].unique()) == 3


def test_a_dialogue_longer_than_a_row_does_not_fit() -> None:
    assert fits(_dialogue(ROW))
    assert not fits(_dialogue(ROW + 1))
    assert torch.equal(pack([], rows=1).segments_RW, torch.zeros(1, ROW, dtype=torch.long))
