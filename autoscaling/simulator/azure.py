"""Reads request traces in the format of the public Azure LLM inference traces."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from autoscaling.simulator.trace import Floats, Trace

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_MOST_TOKENS = 10_000_000
_MOST_DAYS = 31
_GROUPS = 8


class TraceError(ValueError):
    """A trace that cannot be used; the message has the file, the line and the reason."""


def read_trace(path: Path, step_s: float = 1.0) -> Trace:
    """Requests at their times after the first one. Lengths become those of at most 8 x 8 kinds: means of groups that
    hold as many requests each. Raises TraceError."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = np.array(list(_rows(path, lines)))
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from error
    if not len(rows):
        raise TraceError(f"{path}: has no requests; give a row for each, below {','.join(COLUMNS)}")
    seconds = rows[:, 0] - rows[:, 0].min()
    if seconds.max() > _MOST_DAYS * 86_400:
        line = int(np.argmax(seconds)) + 2
        raise TraceError(
            f"{path}:{line}: TIMESTAMP is {seconds.max() / 86_400:.0f} days after the first, of at most 31"
        )
    return _trace(path.stem, seconds, rows[:, 1], rows[:, 2], step_s)


def _rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[float, float, float]]:
    reader = csv.reader(lines)
    header = next(reader, [])
    if tuple(name.strip() for name in header) != COLUMNS:
        raise TraceError(f"{path}:1: the header is {','.join(header)!r} and must be {','.join(COLUMNS)}")
    try:
        for row in reader:
            if row:
                yield _row(f"{path}:{reader.line_num}", row)
    except csv.Error as error:
        raise TraceError(f"{path}:{reader.line_num}: {error}") from error


def _row(where: str, row: list[str]) -> tuple[float, float, float]:
    if len(row) != len(COLUMNS):
        raise TraceError(f"{where}: {len(row)} fields, and {len(COLUMNS)} are needed: {','.join(COLUMNS)}")
    return _time(where, row[0]), _tokens(where, COLUMNS[1], row[1]), _tokens(where, COLUMNS[2], row[2])


def _time(where: str, text: str) -> float:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise TraceError(f"{where}: TIMESTAMP {text!r} is no time such as 2023-11-16 18:17:03.9799600") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _tokens(where: str, column: str, text: str) -> float:
    try:
        count = int(text)
    except ValueError:
        raise TraceError(f"{where}: {column} {text!r} is no whole number") from None
    if not 0 <= count <= _MOST_TOKENS:
        raise TraceError(f"{where}: {column} {count} is not between 0 and {_MOST_TOKENS}")
    return float(max(1, count))


def _trace(name: str, seconds: Floats, prompts: Floats, outputs: Floats, step_s: float) -> Trace:
    prompt_groups, prompt_means = _grouped(prompts)
    output_groups, output_means = _grouped(outputs)
    pairs, kinds = np.unique(prompt_groups * _GROUPS + output_groups, return_inverse=True)
    counts = np.zeros((math.floor(seconds.max() / step_s) + 1, len(pairs)))
    np.add.at(counts, (np.floor(seconds / step_s).astype(int), kinds), 1.0)
    return Trace(name, step_s, prompt_means[pairs // _GROUPS], output_means[pairs % _GROUPS], counts)


def _grouped(lengths: Floats) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Floats]:
    """The group of each length, and the mean of each group, so that sums over all stay as they are."""
    edges = np.quantile(lengths, np.arange(1, _GROUPS) / _GROUPS)
    groups = np.searchsorted(edges, lengths)
    sums = np.bincount(groups, weights=lengths, minlength=_GROUPS)
    return groups, sums / np.maximum(1, np.bincount(groups, minlength=_GROUPS))
