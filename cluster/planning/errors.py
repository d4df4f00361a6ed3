"""What a plan cannot be made for; the message says what to change."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PlanError(ValueError):
    """The question has no answer: an unknown name, a number out of range, a combination that nobody runs."""


def unknown(kind: str, name: str, known: Iterable[str]) -> PlanError:
    """The error for a name that is not in a table, with the nearest names first."""
    names = list(known)
    nearest = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    return PlanError(f"unknown {kind} {name!r}: {hint}known are {', '.join(names)}")
