"""Collects what is wrong with a request, so that a caller hears of everything at once."""

from __future__ import annotations

from collections.abc import Iterable

from cluster.errors import FieldViolation, InvalidRequest

# A status travels in HTTP/2 trailers, of which most peers take 8 KB: once as percent-encoded text, and twice
# more in base64 as details.
_MAX_TRAILER_CHARS = 1500
_MAX_SHOWN = 64


class Violations:
    """A growing list of field violations."""

    def __init__(self) -> None:
        self._found: list[FieldViolation] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, field: str, description: str) -> None:
        """Something is wrong with that field."""
        self._found.append(FieldViolation(field, description))

    def require(self, is_met: bool, field: str, description: str) -> None:
        """Adds the violation unless the condition is met."""
        if not is_met:
            self.add(field, description)

    def extend(self, found: Iterable[FieldViolation]) -> None:
        """Adds several."""
        self._found += found

    def raise_any(self) -> None:
        """Raises InvalidRequest if there are any; beyond what fits in a status they are only counted."""
        if self._found:
            raise InvalidRequest(self._fitting())

    def _fitting(self) -> list[FieldViolation]:
        room = _MAX_TRAILER_CHARS
        for kept, item in enumerate(self._found):
            room -= _trailer_chars(item.field) + _trailer_chars(item.description)
            if room < 0 and kept:
                more = FieldViolation("request", f"has {len(self._found) - kept} more violations")
                return [*self._found[:kept], more]
        return self._found


def _trailer_chars(text: str) -> int:
    return sum(1 if " " <= char <= "~" else 3 * len(char.encode()) for char in text)


def shown(text: str) -> str:
    """A caller's string as it may stand in a message: quoted, cut if long."""
    return repr(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…")


def listed(names: Iterable[str]) -> str:
    """Names in a row, with "or" before the last."""
    *head, last = names
    return f"{', '.join(head)} or {last}" if head else last
