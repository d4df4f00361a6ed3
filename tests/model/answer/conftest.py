"""The tiny family's tokenizer, and answers spelled for it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from model.answer import AnswerReader, Pieces, joined
from model.tiny.tokenizer import build_tokenizer
from model.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(build_tokenizer(), {})


def read(tokenizer: Tokenizer, groups: Iterable[list[int]], *, stop: tuple[str, ...] = ()) -> Pieces:
    """The whole answer, neighbours joined, from ids that come in these groups."""
    reader = AnswerReader(tokenizer, stop)
    pieces: Pieces = ()
    for group in groups:
        pieces += reader.push(group)
        if reader.stopped_by is not None:
            return tuple(joined(pieces))
    return tuple(joined(pieces + reader.finish()))
