"""Patches know their places, and what does not divide into squares is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.variants import SMALL_VISION
from model.vision.patches import Patches
from model.vision.pooler import Pooler


def test_positions_run_along_rows_from_the_top_left() -> None:
    patches = Patches(torch.zeros(1, 6, 4), columns=3)
    assert patches.rows == 2
    assert patches.positions_P2.tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]


@pytest.mark.parametrize(("shape", "columns"), [((1, 6, 4), 4), ((6, 4), 3), ((1, 6, 4), 0)])
def test_patches_that_are_no_rows_are_refused(shape: tuple[int, ...], columns: int) -> None:
    with pytest.raises(ValueError, match="are not rows of"):
        Patches(torch.zeros(shape), columns)


def test_a_soft_token_is_the_mean_of_its_square_times_the_root_of_the_width() -> None:
    pooler = Pooler(replace(SMALL_VISION, hidden_size=4))
    columns_BPD = (torch.arange(18.0) % 6).view(1, 18, 1).expand(1, 18, 4)
    assert pooler(columns_BPD, 6)[0, :, 0].tolist() == [2.0, 8.0]


@pytest.mark.parametrize(("patches", "columns"), [(12, 6), (12, 4), (15, 3)])
def test_patches_that_do_not_divide_into_squares_are_refused(patches: int, columns: int) -> None:
    with pytest.raises(ValueError, match="do not divide into 3x3 squares"):
        Pooler(SMALL_VISION)(torch.zeros(1, patches, 768), columns)
