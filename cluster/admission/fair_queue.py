"""The waiting requests of a variant: interactive before batch, and each fair between callers."""

from __future__ import annotations

from math import ceil

from cluster.admission.lane import Lane
from cluster.admission.ticket import Ticket
from cluster.request import Priority

_EPSILON = 1e-9


class FairQueue:
    """A pure data structure; what comes out depends only on what went in.

    While both wait, batch gets `batch_share` of the starts, evenly spread, and interactive the rest.
    """

    def __init__(self, batch_share: float) -> None:
        self._batch_share = batch_share
        self._batch_credit = 0.0
        self._interactive, self._batch = Lane(), Lane()

    def __len__(self) -> int:
        return self._interactive.size + self._batch.size

    def depth(self, priority: Priority) -> int:
        """Requests of that priority."""
        return self._lane(priority).size

    def push(self, ticket: Ticket) -> None:
        """Puts it in its place."""
        self._lane(ticket.priority).push(ticket)

    def pop(self) -> Ticket:
        """Takes out the next one. There must be one."""
        return self._next_lane().pop()

    def remove(self, ticket: Ticket) -> bool:
        """Takes it out. False if it is not there any more."""
        return self._lane(ticket.priority).remove(ticket)

    def charge(self, ticket: Ticket, tokens: float) -> None:
        """What a started request cost beyond its ticket's `cost`."""
        self._lane(ticket.priority).charge(ticket, tokens)

    def ahead(self, ticket: Ticket) -> float:
        """Requests that start before it, as far as can be told; it need not wait here yet."""
        own = self._lane(ticket.priority).ahead(ticket.caller, ticket)
        if ticket.priority == "batch":
            others, share = self._interactive.size, self._batch_share
        else:
            others, share = self._batch.size, 1 - self._batch_share
        return min(own + others, (own + 1) / share - 1)

    def loser(self, newcomer: Ticket, most: int) -> Ticket:
        """Who gives way when `most` wait and one more comes: a waiting one, or the newcomer itself.

        A priority that holds more than its part of the places gives one to the other; inside a priority the caller
        with most of them does.
        """
        batch_part = max(1, ceil(most * self._batch_share)) if most > 1 else 0
        if newcomer.priority == "batch":
            own, other, others_part = self._batch, self._interactive, most - batch_part
        else:
            own, other, others_part = self._interactive, self._batch, batch_part
        return other.last_of_longest() if other.size > others_part else own.last_of_longest(newcomer)

    def _lane(self, priority: Priority) -> Lane:
        return self._batch if priority == "batch" else self._interactive

    def _next_lane(self) -> Lane:
        if not self._batch.size:
            self._batch_credit = 0.0
            return self._interactive
        if not self._interactive.size:
            return self._batch
        self._batch_credit += self._batch_share
        if self._batch_credit < 1 - _EPSILON:
            return self._interactive
        self._batch_credit -= 1
        return self._batch
