"""What callers saw, one entry for each answer that was asked for. The checker knows no more than this."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Outcome:
    """`question` names what was asked; `text` and `indexes` are of the messages that came, in order.

    `status` is "OK" or the gRPC status that it ended with; `cancelled` is true if the caller gave it up. `turn` is the
    user's text of a turn of `session`, which was acknowledged if the status is OK.
    """

    kind: str
    question: str
    text: str = ""
    indexes: list[int] = field(default_factory=list)
    status: str = ""
    error: str = ""
    cancelled: bool = False
    session: str = ""
    turn: str = ""
    seconds: float = 0.0
    resumptions: int = 0
    migrations: int = 0


class Record:
    """Of all callers, in the order in which their answers ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._lock = threading.Lock()

    def add(self, outcome: Outcome) -> None:
        """One that has ended."""
        with self._lock:
            self.outcomes.append(outcome)

    def write(self, path: Path) -> None:
        """A JSON line each."""
        path.write_text("".join(json.dumps(asdict(outcome)) + "\n" for outcome in self.outcomes))
