"""What an answer's tokens can belong to. A region takes plain tokens until a control token, or the end, closes it."""

from collections.abc import Iterator
from typing import Protocol

from model.answer.call import parse_call
from model.answer.pieces import Pieces, Text, Thought
from model.tokenizer import StreamDecoder, Tokenizer

_THOUGHT_HEADER = "thought\n"


class Region(Protocol):
    """A stretch of an answer."""

    def push(self, token_id: int) -> Pieces:
        """What one more token lets be shown."""

    def close(self) -> Pieces:
        """What was still held back."""


class TextRegion:
    """Shown as soon as whole characters are there. Control tokens in it are left out."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = StreamDecoder(tokenizer)

    def push(self, token_id: int) -> Pieces:
        text = self._decoder.push((token_id,))
        return (Text(text),) if text else ()

    def close(self) -> Pieces:
        text = self._decoder.finish()
        return (Text(text),) if text else ()


class ThoughtRegion:
    """A channel. Its header `thought`, a line of its own, and the newline before its end are markup and not shown.

    The header of any other channel is shown, as a part of the thought: no model says what such channels mean.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = StreamDecoder(tokenizer)
        self._is_in_header = True
        self._held = ""

    def push(self, token_id: int) -> Pieces:
        return self._show(self._decoder.push((token_id,)))

    def close(self) -> Pieces:
        return self._show(self._decoder.finish())

    def _show(self, text: str) -> Pieces:
        text = self._held + text
        if self._is_in_header:
            self._held = text
            if text != _THOUGHT_HEADER and _THOUGHT_HEADER.startswith(text):
                return ()
            self._is_in_header = False
            text = text.removeprefix(_THOUGHT_HEADER)
        self._held = text[-1:] if text.endswith("\n") else ""
        shown = text.removesuffix(self._held)
        return (Thought(shown),) if shown else ()


class CallRegion:
    """A function call, which comes whole. One that cannot be read, or never ends, is text, spelled as it came."""

    def __init__(self, tokenizer: Tokenizer, begin_id: int, quote_id: int | None) -> None:
        self._tokenizer = tokenizer
        self._token_ids = [begin_id]
        self._quote_id = quote_id

    def push(self, token_id: int) -> Pieces:
        self._token_ids.append(token_id)
        return ()

    def end(self, end_id: int) -> Pieces:
        """The call, now that its end is there."""
        try:
            return (parse_call(list(self._segments())),)
        except ValueError:
            self._token_ids.append(end_id)
            return self.close()

    def close(self) -> Pieces:
        return (Text(self._tokenizer.decode(self._token_ids, skip_special=False)),)

    def _segments(self) -> Iterator[str]:
        start = 1
        for i, token_id in enumerate(self._token_ids):
            if token_id == self._quote_id:
                yield self._tokenizer.decode(self._token_ids[start:i])
                start = i + 1
        yield self._tokenizer.decode(self._token_ids[start:])
