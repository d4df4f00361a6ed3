"""The right to run one request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.admission.ticket import Ticket

if TYPE_CHECKING:
    from cluster.admission.gate import Gate


class Slot:
    """Of a gate, which counts it until it is given back. A scout's request calls a replica up."""

    def __init__(self, gate: Gate, ticket: Ticket | None, turn_at: float, *, is_scout: bool = False) -> None:
        self._gate = gate
        self._ticket = ticket
        self._turn_at = turn_at
        self._is_scout = is_scout
        self._is_held = True

    def began(self, now: float) -> None:
        """The request's first tokens are there."""
        if self._is_scout:
            self._is_scout, self._turn_at = False, now
            self._gate.came_up()
        else:
            self._gate.began(now - self._turn_at)

    def leave(self, cost: float, now: float) -> None:
        """Gives it back; once is enough. `cost` is what the request cost in the end, in tokens."""
        if self._is_held:
            self._is_held = False
            self._gate.leave(self._ticket, cost, None if self._is_scout else now - self._turn_at)
