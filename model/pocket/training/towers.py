"""The encoders' towers as the training runs them: media in groups of one shape, so that they can be compiled.

Shapes: N soft tokens of all pictures, L soft tokens of one sound, H hidden size of the tower.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from model.pocket.training.batch import picture_groups, sound_groups
from model.pocket.training.prepared import Picture, Sound


def see(tower: Any, pictures: Sequence[Picture]) -> Tensor:
    """[N, H], picture by picture."""
    seen = [tower(*group).last_hidden_state for group in picture_groups(pictures)]
    return torch.cat(seen)[: sum(len(picture.places_N) for picture in pictures)]


def hear(tower: Any, sounds: Sequence[Sound]) -> list[Tensor]:
    """[L, H] of each sound. Those of about one length go through the tower together."""
    order = sorted(range(len(sounds)), key=lambda index: len(sounds[index].mel_FK))
    groups = sound_groups([sounds[index] for index in order])
    heard = [one_LH for group in groups for one_LH in tower(*group).last_hidden_state]
    by_index = dict(zip(order, heard, strict=False))
    return [by_index[index][: sound.soft_tokens] for index, sound in enumerate(sounds)]


def compile_vision(tower: Any) -> None:
    """All but the pooling, whose output's length depends on the pictures."""
    tower.encoder.forward = torch.compile(tower.encoder.forward, dynamic=False)


def compile_audio(tower: Any) -> None:
    """The whole tower."""
    tower.forward = torch.compile(tower.forward, dynamic=False)
