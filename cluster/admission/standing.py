"""How a request stands that waits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """`is_starting` says that no replica runs yet; `ahead` requests of this gateway start before it.

    `wait_s` is about how long until its turn, None when nothing measured tells.
    """

    is_starting: bool
    ahead: int
    wait_s: float | None
