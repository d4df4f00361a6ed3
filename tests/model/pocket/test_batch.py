"""Rows hold whole dialogues, and none sees another."""

import torch

from model.pocket.dialogue import Dialogue
from model.pocket.tokenizer import SPECIALS
from model.pocket.training.batch import ROW, fits, pack
from model.pocket.training.prepared import Prepared, prepare

IMAGE = SPECIALS["<|image|>"]


def _dialogue(length: int, first: int = 7) -> Prepared:
    return Prepared([first] * length, [0.0] * (length - 1) + [1.0], [], [])


def test_positions_and_segments_begin_anew_with_each_dialogue() -> None:
    batch = pack([_dialogue(300), _dialogue(50, 8), _dialogue(100, 9)], rows=2)
    assert batch.tokens_RW.shape == (2, ROW)
    assert batch.segments_RW[0].unique_consecutive().tolist() == [1, 2, 0]
    assert batch.positions_RW[0, 299:302].tolist() == [299, 0, 1]
    assert batch.tokens_RW[1, :100].unique().tolist() == [9]
    assert float(batch.counts_RW.sum()) == 3


def test_what_finds_no_room_is_left_out() -> None:
    assert int(pack([_dialogue(300), _dialogue(100)], rows=1).counts_RW.sum()) == 1


def test_each_picture_is_a_block_of_its_own() -> None:
    two = Prepared([5, IMAGE, IMAGE, 6, IMAGE, 6], [0.0] * 6, [], [])
    one = Prepared([5, IMAGE], [0.0] * 2, [], [])
    blocks_W = pack([two, one], rows=1).blocks_RW[0, :8]
    assert (blocks_W >= 0).tolist() == [False, True, True, False, True, False, False, True]
    assert len(blocks_W[blocks_W >= 0].unique()) == 3


def test_a_dialogue_longer_than_a_row_does_not_fit() -> None:
    assert fits(_dialogue(ROW))
    assert not fits(_dialogue(ROW + 1))
    assert torch.equal(pack([], rows=1).segments_RW, torch.zeros(1, ROW, dtype=torch.long))


def test_an_answer_counts_as_the_root_of_its_length() -> None:
    said = [("Hi", "Hello"), ("Who are you?", "I am Pocket Gemma")]
    roles = ("user", "assistant")
    messages = [{"role": role, "content": text} for pair in said for role, text in zip(roles, pair, strict=True)]
    counts = [count for count in prepare(Dialogue("any", messages)).counts if count]
    lengths = [round(count**-2) for count in counts]
    assert lengths == [2, 2, *[lengths[-1]] * lengths[-1]]
    assert lengths[-1] > 2
