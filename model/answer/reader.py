"""From an engine's token ids to an answer that ends before the first stop string."""

from collections.abc import Iterable, Sequence

from model.answer.parser import AnswerParser
from model.answer.pieces import Piece, Pieces, Text
from model.answer.stop import StopMatcher
from model.tokenizer import Tokenizer


class AnswerReader:
    """Reads one answer. Stop strings are looked for in its text alone, not in thoughts or calls, nor across them.

    `end_ids` end an answer whatever a checkpoint says of its end tokens: a call's result comes from the caller.
    """

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...] = (), prompt: Sequence[int] = ()) -> None:
        self._parser = AnswerParser(tokenizer, prompt)
        self._stop = StopMatcher(stop)
        self._has_stop = bool(stop)
        result = tokenizer.token_id("<|tool_response>")
        self.end_ids = frozenset[int]() if result is None else frozenset({result})

    @property
    def stopped_by(self) -> str | None:
        """The stop string that was found. Nothing may be pushed any more."""
        return self._stop.matched

    @property
    def thought_tokens(self) -> int:
        """Tokens of thoughts so far."""
        return self._parser.thought_tokens

    def push(self, token_ids: Iterable[int]) -> Pieces:
        """What these ids let be shown: not what may become a stop string."""
        pieces = self._parser.push(token_ids)
        return self._until_stop(pieces) if self._has_stop else pieces

    def finish(self) -> Pieces:
        """What was held back, once no more ids will come."""
        pieces = self._parser.finish()
        if not self._has_stop:
            return pieces
        shown = self._until_stop(pieces)
        return shown if self.stopped_by is not None else (*shown, *self._held())

    def _until_stop(self, pieces: Pieces) -> Pieces:
        shown: list[Piece] = []
        for piece in pieces:
            if not isinstance(piece, Text):
                shown += (*self._held(), piece)
                continue
            text = self._stop.push(piece.text)
            shown += (Text(text),) if text else ()
            if self.stopped_by is not None:
                break
        return tuple(shown)

    def _held(self) -> Pieces:
        text = self._stop.finish()
        return (Text(text),) if text else ()
