"""Stop strings over streamed text: no part of one is ever emitted, wherever the pieces of text are cut."""


class StopMatcher:
    """Passes text through until a stop string is complete. Each character costs one step per stop string."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._patterns = [_Pattern(stop) for stop in stops]
        self._held = ""
        self.matched: str | None = None

    def push(self, piece: str) -> str:
        """What may be shown now. Holds back an ending that could be the beginning of a stop string."""
        if not self._patterns:
            return piece
        text = self._held + piece
        for end, char in enumerate(piece, start=len(self._held) + 1):
            complete = [pattern.text for pattern in self._patterns if pattern.advance(char)]
            if complete:
                self.matched = max(complete, key=len)
                self._held = ""
                return text[: end - len(self.matched)]
        shown = len(text) - max(pattern.num_matched for pattern in self._patterns)
        self._held = text[shown:]
        return text[:shown]

    def finish(self) -> str:
        """What was held back, once the text has ended. What is pushed after it is another text."""
        held, self._held = self._held, ""
        for pattern in self._patterns:
            pattern.num_matched = 0
        return held


class _Pattern:
    """One stop string as an automaton (Knuth, Morris, Pratt): how much of it the text ends with."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.num_matched = 0
        self._fallback = _fallbacks(text)

    def advance(self, char: str) -> bool:
        """Reads one more character of the text; True if it completes the string."""
        while self.num_matched and self.text[self.num_matched] != char:
            self.num_matched = self._fallback[self.num_matched - 1]
        self.num_matched += self.text[self.num_matched] == char
        return self.num_matched == len(self.text)


def _fallbacks(text: str) -> list[int]:
    """For each prefix, the length of its longest proper suffix that is a prefix too."""
    lengths = [0] * len(text)
    matched = 0
    for i in range(1, len(text)):
        while matched and text[matched] != text[i]:
            matched = lengths[matched - 1]
        matched += text[matched] == text[i]
        lengths[i] = matched
    return lengths
