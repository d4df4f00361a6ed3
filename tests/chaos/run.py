"""One run: calm, then load and faults, then calm again; and what was wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.callers import Callers
from tests.chaos.checker import violations
from tests.chaos.plan import hurt
from tests.chaos.world import World, history, until, world

_WHOLE_AGAIN_S = 120.0


@dataclass(frozen=True)
class Report:
    """`violations` is empty if nothing was lost, doubled or stuck."""

    violations: list[str]
    ended: Counter[tuple[str, str]]
    faults: Counter[str]
    migrations: int
    resumptions: int

    def __str__(self) -> str:
        rows = [f"  {kind:10} {status:20} {count}" for (kind, status), count in sorted(self.ended.items())]
        faults = ", ".join(f"{name} ({count})" for name, count in sorted(self.faults.items()))
        moved = f"{self.migrations} answers went on on another replica, {self.resumptions} at another gateway"
        return "\n".join(
            [f"done to it: {faults}", moved, "answers:", *rows, *(self.violations or ["nothing is wrong"])]
        )


def run(seed: int, seconds: float, folder: Path, say: Callable[[str], None] = print) -> Report:
    """Starts a cluster, hurts it for so long, and checks the record, which it leaves in `folder`."""
    with world(folder) as cluster:
        callers, faults = Callers(cluster.address, seed), Counter[str]()
        callers.ask_undisturbed()
        callers.start()
        began = time.monotonic()
        for fault in hurt(cluster, seed, seconds):
            say(f"{time.monotonic() - began:6.1f} s  {fault}")
            faults[fault] += 1
        stuck = [f"{name} never ended" for name in callers.stop()]
        return _report(cluster, callers, faults, stuck, folder)


def _report(cluster: World, callers: Callers, faults: Counter[str], stuck: list[str], folder: Path) -> Report:
    callers.record.write(folder / "record.jsonl")
    if not until(cluster.is_whole, _WHOLE_AGAIN_S):
        stuck.append(f"not whole or not idle after {_WHOLE_AGAIN_S:g} s: {cluster.loads()}")
    outcomes = callers.record.outcomes
    histories = {session: history(cluster.address, session) for session in callers.sessions}
    return Report(
        [*stuck, *violations(outcomes, callers.undisturbed, histories)],
        Counter((outcome.kind, outcome.status) for outcome in outcomes),
        faults,
        sum(outcome.migrations for outcome in outcomes if outcome.status == "OK"),
        sum(outcome.resumptions > 0 for outcome in outcomes if outcome.status == "OK"),
    )
