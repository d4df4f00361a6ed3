"""Pocket checkpoints that were never trained: complete, but all they say is noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.pocket.checkpoint import write_checkpoint
from model.pocket.family import POCKET_VARIANTS
from model.pocket.training.decoder import Decoder

MakeUntrained = Callable[[str], Path]


@pytest.fixture(scope="session")
def make_untrained(tmp_path_factory: pytest.TempPathFactory) -> MakeUntrained:
    """`make_untrained(variant) -> Path`, written once per session into a folder of the variant's name."""
    family = tmp_path_factory.mktemp("untrained")

    def make(variant: str) -> Path:
        if not (family / variant).exists():
            torch.manual_seed(0)
            decoder = Decoder(POCKET_VARIANTS[variant], is_compiled=False)
            write_checkpoint(variant, decoder.gemma.state_dict(), family / variant)
        return family / variant

    return make
