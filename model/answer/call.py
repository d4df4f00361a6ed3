"""The grammar of Gemma's function calls: close to JSON, but keys stand bare, and strings between quote tokens.

    call:forecast{city:<|"|>Oslo<|"|>,days:3,exact:true,hours:[6,18],unit:null}

What other readers of this format forgive is forgiven here too: JSON's own quotes, blanks, a missing `call`, and a bare
word that is neither a number nor a constant, which is a string.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from model.answer.pieces import FunctionCall

MAX_DEPTH = 24
"""Levels of objects and lists in the arguments, as many as a request may hold."""
_HEAD = re.compile(r"\s*(?:call)?:([A-Za-z0-9_]{1,64})(?=\{)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LEXEME = re.compile(r'[{}\[\],:]|"[^"\\]*(?:\\.[^"\\]*)*"|"|[^{}\[\],:"]+', re.DOTALL)
_CONSTANTS = {"null": None, "None": None, "true": True, "false": False}
_END = ""


def parse_call(segments: Sequence[str]) -> FunctionCall:
    """The call whose text the quote tokens cut into `segments`: every second one is a string's content.

    Takes time in proportion to the text's length. Raises ValueError if it is no call, is nested deeper than MAX_DEPTH
    or names an argument twice.
    """
    head = _HEAD.match(segments[0])
    if head is None or len(segments) % 2 == 0:
        raise ValueError("no call, or a string without its end")
    arguments = _Arguments([segments[0][head.end() :], *segments[1:]])
    return FunctionCall(head[1], arguments.read())


class _Quoted:
    """A string's content; equal to no lexeme."""

    def __init__(self, text: str) -> None:
        self.text = text


class _Arguments:
    """Reads lexemes with one of them ahead; a string's content is told from other lexemes by its type."""

    def __init__(self, segments: Iterable[str]) -> None:
        self._rest = _lexemes(segments)
        self._depth = 0
        self._next: str | _Quoted = next(self._rest)

    def read(self) -> dict[str, Any]:
        self._expect("{")
        args = self._object()
        self._expect(_END)
        return args

    def _take(self) -> str | _Quoted:
        taken, self._next = self._next, next(self._rest, _END)
        return taken

    def _expect(self, lexeme: str) -> None:
        if self._take() != lexeme:
            raise ValueError(f"expected {lexeme or 'the end'!r}")

    def _value(self) -> Any:
        lexeme = self._take()
        if lexeme == "{":
            return self._object()
        if lexeme == "[":
            return self._list()
        return _scalar(lexeme)

    def _object(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for _ in self._items("}"):
            key = _string(self._take())
            self._expect(":")
            if key in fields:
                raise ValueError(f"{key!r} comes twice")
            fields[key] = self._value()
        return fields

    def _list(self) -> list[Any]:
        return [self._value() for _ in self._items("]")]

    def _items(self, end: str) -> Iterator[None]:
        """Stops before each item, and behind the closing bracket."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        if self._next != end:
            yield
            while self._next == ",":
                self._take()
                yield
        self._expect(end)
        self._depth -= 1


def _lexemes(segments: Iterable[str]) -> Iterator[str | _Quoted]:
    """One after the other, blanks left out, so that reading ends at the first mistake."""
    for i, segment in enumerate(segments):
        if i % 2:
            yield _Quoted(segment)
        else:
            yield from filter(None, (match[0].strip() for match in _LEXEME.finditer(segment)))


def _scalar(lexeme: str | _Quoted) -> Any:
    if isinstance(lexeme, _Quoted):
        return lexeme.text
    if lexeme in _CONSTANTS:
        return _CONSTANTS[lexeme]
    if _NUMBER.fullmatch(lexeme) and math.isfinite(float(lexeme)):
        return int(lexeme) if lexeme.removeprefix("-").isdigit() else float(lexeme)
    return _string(lexeme)


def _string(lexeme: str | _Quoted) -> str:
    if isinstance(lexeme, _Quoted):
        return lexeme.text
    if lexeme[:1] == '"':
        text: str = json.loads(lexeme, strict=False)
        text.encode()  # half a surrogate pair, which JSON can escape, is no text
        return text
    if not lexeme or lexeme in "{}[],:":
        raise ValueError(f"expected a value, not {lexeme!r}")
    return lexeme
