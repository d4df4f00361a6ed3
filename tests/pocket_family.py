"""The trained checkpoints that come with the package."""

from pathlib import Path

import pytest

from cluster.checkpoints import POCKET_CHECKPOINTS
from cluster.config import VARIANT_NAMES

SHIPPED = tuple(name for name in VARIANT_NAMES if (POCKET_CHECKPOINTS / name).is_dir())


def claimed(variant: str, *skills: str) -> Path:
    """A variant's folder; the test is skipped where its card does not claim all these skills."""
    folder = shipped(variant)
    card = (folder / "README.md").read_text(encoding="utf-8")
    missing = [skill for skill in skills if f"\n| {skill} |" not in card]
    if missing:
        pytest.skip(f"pocket {variant} does not claim {', '.join(missing)}")
    return folder


def shipped(variant: str) -> Path:
    """A variant's folder; the test is skipped where the checkpoint is not there yet."""
    if variant not in SHIPPED:
        pytest.skip(f"there is no trained checkpoint {POCKET_CHECKPOINTS / variant}")
    return POCKET_CHECKPOINTS / variant
