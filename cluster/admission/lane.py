"""The waiting requests of one priority, fair between callers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from cluster.admission.ticket import Ticket


@dataclass(eq=False, slots=True)
class _Line:
    """One caller's requests, in their order. `start` is the virtual time at which the first of them is due."""

    start: float = 0.0
    tickets: deque[Ticket] = field(default_factory=deque)


class Lane:
    """Start-time fair queueing (Goyal, Vin and Cheng, 1996): whoever has got the least goes first.

    Virtual time is counted in tokens of a caller of weight 1. A caller that was away owes and is owed nothing, so that
    nobody saves up a burst. What a caller has got is forgotten when nobody waits any more.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._now = 0.0
        self.size = 0

    def push(self, ticket: Ticket) -> None:
        """Puts it behind its caller's others."""
        line = self._lines.setdefault(ticket.caller, _Line())
        if not line.tickets:
            line.start = max(line.start, self._now)
        line.tickets.append(ticket)
        self.size += 1

    def pop(self) -> Ticket:
        """Takes out the next one, and charges its caller. Of callers that are level, the longest known goes first."""
        line = min((line for line in self._lines.values() if line.tickets), key=lambda line: line.start)
        ticket = line.tickets.popleft()
        self._now = line.start
        line.start += ticket.cost / ticket.weight
        self._shrink()
        return ticket

    def remove(self, ticket: Ticket) -> bool:
        """Takes it out, uncharged. False if it is not there any more."""
        line = self._lines.get(ticket.caller)
        if line is None or ticket not in line.tickets:
            return False
        line.tickets.remove(ticket)
        self._shrink()
        return True

    def charge(self, ticket: Ticket, tokens: float) -> None:
        """What a started request cost beyond what was charged; less than nothing gives back."""
        line = self._lines.get(ticket.caller)
        if line is not None:
            line.start = max(self._now, line.start + tokens / ticket.weight)

    def ahead(self, caller: str, ticket: Ticket | None = None) -> int:
        """Requests that start before that ticket of the caller's, or before one that it sends now, if all cost the
        same."""
        own = self._lines.get(caller)
        tickets = own.tickets if own else ()
        place = next((index for index, item in enumerate(tickets) if item is ticket), len(tickets))
        others = (min(len(line.tickets), place + 1) for line in self._lines.values() if line is not own)
        return place + sum(others)

    def last_of_longest(self, newcomer: Ticket | None = None) -> Ticket:
        """The latest request of the caller with most of them, to which the newcomer counts."""
        longest = max(self._lines.values(), key=lambda line: len(line.tickets), default=_Line())
        if newcomer is None:
            return longest.tickets[-1]
        own = self._lines.get(newcomer.caller, _Line())
        return newcomer if len(own.tickets) + 1 >= len(longest.tickets) else longest.tickets[-1]

    def _shrink(self) -> None:
        """Forgets callers that wait for nothing and owe nothing."""
        self.size -= 1
        if self.size:
            done = [name for name, line in self._lines.items() if not line.tickets and line.start <= self._now]
        else:
            done = list(self._lines)
        for name in done:
            del self._lines[name]
