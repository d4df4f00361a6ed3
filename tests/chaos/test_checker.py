"""The checker finds each thing that must not be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.checker import violations
from tests.chaos.record import Outcome

UNDISTURBED = {"q": "one two three", "t": "yes"}
GOOD = Outcome("text", "q", "one two three", [0, 1, 2], "OK", seconds=1)
TURN = Outcome("session", "t", "yes", [0], "OK", session="s", turn="t")
HISTORY = {"s": [("t", "yes")]}


def test_what_is_well_is_well() -> None:
    lost = replace(GOOD, text="one", indexes=[0], status="UNAVAILABLE")
    given_up = replace(GOOD, text="one", indexes=[0], cancelled=True)
    assert violations([GOOD, lost, given_up, TURN], UNDISTURBED, HISTORY) == []


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        (replace(GOOD, status=""), "never ended"),
        (replace(GOOD, seconds=1000), "took 1000 s"),
        (replace(GOOD, status="INTERNAL"), "ended INTERNAL"),
        (replace(GOOD, indexes=[0, 2, 3]), "messages"),
        (replace(GOOD, indexes=[0, 1, 1, 2]), "messages"),
        (replace(GOOD, text="one two"), "undisturbed"),
        (replace(GOOD, text="one one", indexes=[0, 1], status="UNAVAILABLE"), "began"),
        (replace(GOOD, text="one one", indexes=[0, 1], cancelled=True), "began"),
    ],
)
def test_an_answer_that_is_not(outcome: Outcome, found: str) -> None:
    assert any(found in line for line in violations([outcome], UNDISTURBED, {}))


@pytest.mark.parametrize(
    ("history", "found"),
    [
        ([], "is lost"),
        ([("t", "yes"), ("t", "yes")], "2 times"),
        ([("t", "no")], "was answered"),
        ([("t", "yes"), ("x", "yes")], "never said"),
    ],
)
def test_a_session_that_is_not(history: list[tuple[str, str]], found: str) -> None:
    assert any(found in line for line in violations([TURN], UNDISTURBED, {"s": history}))


def test_turns_in_another_order() -> None:
    undisturbed = UNDISTURBED | {"u": "no"}
    second = replace(TURN, question="u", turn="u", text="no")
    lines = violations([TURN, second], undisturbed, {"s": [("u", "no"), ("t", "yes")]})
    assert any("another order" in line for line in lines)
