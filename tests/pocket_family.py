"""What the trained checkpoints that come with the package claim to know."""

from pathlib import Path

import pytest

from cluster.checkpoints import POCKET_CHECKPOINTS


def claims(variant: str, skill: str) -> bool:
    """Whether the variant's card says so."""
    card = (POCKET_CHECKPOINTS / variant / "README.md").read_text(encoding="utf-8")
    return f"\n| {skill} |" in card


def claimed(variant: str, skill: str) -> Path:
    """The variant's folder; the test is skipped where its card does not claim the skill."""
    if not claims(variant, skill):
        pytest.skip(f"pocket {variant} does not claim {skill}")
    return POCKET_CHECKPOINTS / variant
