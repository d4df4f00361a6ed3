"""What must be true of a record, whatever was killed: a plain model that shares no code with the cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.record import Outcome

# (what the user said, what the model answered), in order.
History = Sequence[tuple[str, str]]
# A part of the cluster was away, or full, and said so.
_HONEST = frozenset({"OK", "UNAVAILABLE", "RESOURCE_EXHAUSTED"})
_LONGEST_S = 90.0


def violations(
    outcomes: Sequence[Outcome], undisturbed: Mapping[str, str], histories: Mapping[str, History]
) -> list[str]:
    """A line for each. `undisturbed` are the answers by question, `histories` the sessions as they are in the end."""
    found = [line for outcome in outcomes for line in _of_one(outcome, undisturbed)]
    by_session: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.session:
            by_session.setdefault(outcome.session, []).append(outcome)
    for session, turns in by_session.items():
        found += _of_session(session, turns, histories.get(session, ()))
    return found


def _of_one(outcome: Outcome, undisturbed: Mapping[str, str]) -> Iterator[str]:
    name = f"{outcome.kind} {outcome.question!r}"
    if not outcome.status:
        yield f"{name}: never ended"
    if outcome.seconds > _LONGEST_S:
        yield f"{name}: took {outcome.seconds:.0f} s to end with {outcome.status}"
    if outcome.status not in _HONEST and not outcome.cancelled:
        yield f"{name}: ended {outcome.status}: {outcome.error}"
    if outcome.indexes != list(range(len(outcome.indexes))):
        yield f"{name}: messages {outcome.indexes}"
    expected = undisturbed.get(outcome.question)
    if expected is None:  # it depends on what was said before in its session
        return
    if outcome.status == "OK" and not outcome.cancelled and outcome.text != expected:
        yield f"{name}: said {outcome.text[-80:]!r}, and undisturbed {expected[-80:]!r}"
    if not expected.startswith(outcome.text):
        yield f"{name}: began {outcome.text[:80]!r}, and undisturbed {expected[:80]!r}"


def _of_session(session: str, turns: Sequence[Outcome], history: History) -> Iterator[str]:
    said = Counter(user for user, _ in history)
    answers = dict(history)
    known = {outcome.turn for outcome in turns}
    for text, count in said.items():
        if count > 1:
            yield f"session {session}: {text!r} is there {count} times"
        if text not in known:
            yield f"session {session}: {text!r} was never said in it"
    for outcome in turns:
        if outcome.status != "OK":
            continue
        if outcome.turn not in said:
            yield f"session {session}: the acknowledged turn {outcome.turn!r} is lost"
        elif answers[outcome.turn] != outcome.text:
            there = answers[outcome.turn]
            yield f"session {session}: {outcome.turn!r} was answered {outcome.text!r}, and has {there!r}"
    acknowledged = [outcome.turn for outcome in turns if outcome.status == "OK"]
    order = [user for user, _ in history if user in set(acknowledged)]
    if order != [turn for turn in acknowledged if turn in said]:
        yield f"session {session}: its turns are in another order"
