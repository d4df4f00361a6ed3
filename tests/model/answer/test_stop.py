"""Stop strings: nothing of one is shown, wherever the text is cut, and everything else is."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.answer.stop import StopMatcher

letters = st.text(alphabet="ab<", max_size=30)


def plain(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """The rule, said plainly: read until some stop string is complete; of several, the longest."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


def streamed(pieces: list[str], stops: tuple[str, ...]) -> tuple[str, str | None]:
    matcher = StopMatcher(stops)
    shown = ""
    for piece in pieces:
        shown += matcher.push(piece)
        if matcher.matched is not None:
            return shown, matcher.matched
    return shown + matcher.finish(), None


@settings(max_examples=500, deadline=None)
@given(
    pieces=st.lists(letters, max_size=8), stops=st.lists(st.text(alphabet="ab<", min_size=1, max_size=6), max_size=4)
)
def test_streaming_equals_the_plain_rule_wherever_text_is_cut(pieces: list[str], stops: list[str]) -> None:
    assert streamed(pieces, tuple(stops)) == plain("".join(pieces), tuple(stops))


@settings(max_examples=200, deadline=None)
@given(text=letters, stops=st.lists(st.text(alphabet="ab<", min_size=1, max_size=6), min_size=1, max_size=4))
def test_only_what_could_begin_a_stop_string_is_held_back(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(tuple(stops))
    shown = matcher.push(text)
    if matcher.matched is None:
        held = text[len(shown) :]
        assert held == "" or any(stop.startswith(held) for stop in stops)


def test_a_stop_string_across_pieces_is_found() -> None:
    matcher = StopMatcher(("</end>",))
    assert [matcher.push(piece) for piece in ("one <", "/e", "lse </", "end> two")] == ["one ", "", "</else ", ""]
    assert matcher.matched == "</end>"


def test_without_stop_strings_text_passes_through() -> None:
    matcher = StopMatcher(())
    assert matcher.push("abc") == "abc"
    assert matcher.finish() == ""


@pytest.mark.parametrize("stop", ["a" * 5000 + "b", "ab" * 2500 + "c"])
def test_a_long_stop_string_costs_one_step_per_character(stop: str) -> None:
    matcher = StopMatcher((stop,))
    started = time.process_time()
    shown = "".join(matcher.push("ab" if stop[1] == "b" else "a") for _ in range(50_000))
    assert time.process_time() - started < 3.0
    assert len(shown + matcher.finish()) == (100_000 if stop[1] == "b" else 50_000)
