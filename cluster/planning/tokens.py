"""Numbers of tokens as people write them."""

from __future__ import annotations

import re

from cluster.planning.errors import PlanError

_UNITS = {"": 1, "k": 1024, "m": 1024 * 1024}
_NUMBER = re.compile(r"(\d{1,12})([km]?)")


def parse_tokens(text: str) -> int:
    """8192, 32k (of 1024) or 1m; underscores and commas between digits. PlanError for anything else."""
    found = _NUMBER.fullmatch(text.strip().lower().replace("_", "").replace(",", ""))
    if found is None:
        raise PlanError(f"context {text!r}: give a number of tokens, such as 8192 or 32k")
    return int(found[1]) * _UNITS[found[2]]
