"""Dialogues laid into rows of fixed length, several to a row, so that no shape changes from step to step.

Shapes: R rows, W tokens in a row, M media of a kind, P patches, C numbers in a patch, F mel frames, K mel bins,
N soft tokens of all media of a kind.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from model.pocket.tokenizer import SPECIALS
from model.pocket.training.prepared import Picture, Prepared, Sound

ROW = 384
PATCHES = 280
# Media go through their tower in groups of this many, the last filled up.
GROUP = 4
# A group of sounds is padded to the least of these that holds its longest.
MEL_FRAMES = (160, 320)
Medium = TypeVar("Medium", Picture, Sound)
IMAGE, AUDIO = SPECIALS["<|image|>"], SPECIALS["<|audio|>"]


class Batch(NamedTuple):
    """One step's dialogues. `segments_RW` number the dialogues of a row, 0 being padding.

    `blocks_RW` number the pictures of a row, -1 being no picture. `counts_RW` says how much learning to write a token
    counts, 0 where it is not the model's own.
    """

    tokens_RW: Tensor
    positions_RW: Tensor
    segments_RW: Tensor
    blocks_RW: Tensor
    counts_RW: Tensor
    pictures: list[Picture]
    sounds: list[Sound]


def fits(prepared: Prepared) -> bool:
    """Whether the dialogue fits a row, and its media what the towers are compiled for."""
    return len(prepared.tokens) <= ROW and all(len(sound.mel_FK) <= MEL_FRAMES[-1] for sound in prepared.sounds)


def pack(dialogues: Sequence[Prepared], rows: int) -> Batch:
    """First fit; what finds no room is left out, the last first."""
    packed: list[list[Prepared]] = [[] for _ in range(rows)]
    for dialogue in dialogues:
        room = [row for row in packed if sum(len(one.tokens) for one in row) + len(dialogue.tokens) <= ROW]
        if room:
            room[0].append(dialogue)
    kept = [dialogue for row in packed for dialogue in row]
    return Batch(
        _rows(packed, lambda one, _: one.tokens, 0),
        _rows(packed, lambda one, _: list(range(len(one.tokens))), 0),
        _rows(packed, lambda one, index: [index + 1] * len(one.tokens), 0),
        _rows(packed, lambda one, index: _blocks(one.tokens, index), -1),
        _rows(packed, lambda one, _: one.counts, 0.0),
        [picture for one in kept for picture in one.pictures],
        [sound for one in kept for sound in one.sounds],
    )


def _rows(packed: list[list[Prepared]], values: Callable[[Prepared, int], Sequence[float]], padding: float) -> Tensor:
    filled = torch.full((len(packed), ROW), padding)
    for row, dialogues in enumerate(packed):
        laid = [value for index, one in enumerate(dialogues) for value in values(one, index)]
        filled[row, : len(laid)] = torch.tensor(laid)
    return filled


def _blocks(tokens: list[int], index: int) -> list[int]:
    """A number of its own for each picture of the row; a dialogue has fewer than a hundred."""
    blocks, current = [], 100 * index
    for before, token in zip([0, *tokens], tokens, strict=False):
        current += token == IMAGE and before != IMAGE
        blocks.append(current if token == IMAGE else -1)
    return blocks


def picture_groups(pictures: Sequence[Picture]) -> Iterator[tuple[Tensor, Tensor]]:
    """Values [GROUP, P, C] and positions [GROUP, P, 2] of each group, padded with -1."""
    for group in _groups(pictures):
        bytes_GPC = torch.stack([F.pad(one.patches_PC, (0, 0, 0, PATCHES - len(one.patches_PC))) for one in group])
        yield (
            bytes_GPC / 255,
            torch.stack(
                [F.pad(one.positions_P2, (0, 0, 0, PATCHES - len(one.positions_P2)), value=-1) for one in group]
            ),
        )


def sound_groups(sounds: Sequence[Sound]) -> Iterator[tuple[Tensor, Tensor]]:
    """Mel frames [GROUP, F, K] of each group, and which of them are real, [GROUP, F]."""
    for group in _groups(sounds):
        lengths = torch.tensor([len(one.mel_FK) for one in group])
        frames = next(frames for frames in MEL_FRAMES if frames >= lengths.max())
        mels = [F.pad(one.mel_FK, (0, 0, 0, frames - len(one.mel_FK))) for one in group]
        yield torch.stack(mels), torch.arange(frames) < lengths[:, None]


def _groups(media: Sequence[Medium]) -> Iterator[list[Medium]]:
    for start in range(0, len(media), GROUP):
        group = list(media[start : start + GROUP])
        yield group + group[-1:] * (GROUP - len(group))
