"""The trained checkpoints that come with the package."""

from pathlib import Path

import pytest

from cluster.checkpoints import POCKET_CHECKPOINTS
from cluster.config import VARIANT_NAMES

SHIPPED = tuple(name for name in VARIANT_NAMES if (POCKET_CHECKPOINTS / name).is_dir())


def shipped(variant: str) -> Path:
    """A variant's folder; the test is skipped where the checkpoint is not there yet."""
    if variant not in SHIPPED:
        pytest.skip(f"there is no trained checkpoint {POCKET_CHECKPOINTS / variant}")
    return POCKET_CHECKPOINTS / variant
