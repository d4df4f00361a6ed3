"""A request that waits for its turn."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from cluster.errors import Overloaded
from cluster.request import Priority


@dataclass(eq=False, slots=True)
class Ticket:
    """`cost` is what the caller is charged at the start, in tokens; `weight` its share next to other callers'.

    `turn` ends with None when the request may start, and with an error when it lost its place; it is cancelled with the
    task that waits for it.
    """

    caller: str
    priority: Priority
    weight: float
    cost: float
    turn: asyncio.Future[Overloaded | None]

    @property
    def has_turn(self) -> bool:
        """It may start."""
        return self.turn.done() and not self.turn.cancelled() and self.turn.result() is None
