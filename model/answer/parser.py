"""Tells text, thoughts and function calls apart by the control tokens among an answer's token ids.

    text <|channel>thought\\n thought \\n<channel|> text <|tool_call>call:name{...}<tool_call|> text

Control tokens are single ids: the same characters spelled by ordinary tokens are plain text.
"""

from collections.abc import Iterable, Sequence

from model.answer.pieces import Piece, Pieces
from model.answer.regions import CallRegion, Region, TextRegion, ThoughtRegion
from model.tokenizer import Tokenizer


class AnswerParser:
    """Reads one answer. Never fails: whatever the ids are, their text comes out, and in time proportional to it.

    A channel is a thought. It is over where a call or another channel begins, a call at any control token but a quote.
    Ends of what has not begun, and control tokens without a meaning in an answer, are left out.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int] = ()) -> None:
        """`prompt` matters only if it ends inside a channel that it opened: the answer then begins in it."""
        self._tokenizer = tokenizer
        self._thought_begin = tokenizer.token_id("<|channel>")
        self._thought_end = tokenizer.token_id("<channel|>")
        self._call_begin = tokenizer.token_id("<|tool_call>")
        self._call_end = tokenizer.token_id("<tool_call|>")
        self._quote = tokenizer.token_id('<|"|>')
        self._control_ids = tokenizer.special_ids | {self._thought_begin, self._thought_end}
        self._control_ids |= {self._call_begin, self._call_end, self._quote}
        self._region: Region = TextRegion(tokenizer)
        self._is_thinking = False
        self.thought_tokens = 0
        """Tokens of thoughts so far, their begin and end included."""
        self.push(self._open_channel(prompt))
        self.thought_tokens = 0

    def push(self, token_ids: Iterable[int]) -> Pieces:
        """What these ids let be shown."""
        pieces: list[Piece] = []
        for token_id in token_ids:
            self.thought_tokens += self._is_thinking
            is_plain = token_id not in self._control_ids
            pieces += self._region.push(token_id) if is_plain else self._control(token_id)
        return tuple(pieces)

    def finish(self) -> Pieces:
        """What is still held back, once no more ids will come: half a character, or a call without its end."""
        return self._enter(TextRegion(self._tokenizer))

    def _control(self, token_id: int) -> Pieces:
        region = self._region
        if isinstance(region, CallRegion):
            if token_id == self._quote:
                return region.push(token_id)
            if token_id == self._call_end:
                self._region = TextRegion(self._tokenizer)
                return region.end(token_id)
        following = self._following(token_id)
        return () if following is None else self._enter(following)

    def _following(self, token_id: int) -> Region | None:
        """The region that begins with a control token; None if it changes nothing."""
        if token_id == self._thought_begin:
            self.thought_tokens += not self._is_thinking
            return ThoughtRegion(self._tokenizer)
        if token_id == self._call_begin:
            return CallRegion(self._tokenizer, token_id, self._quote)
        is_over = isinstance(self._region, CallRegion) or (self._is_thinking and token_id == self._thought_end)
        return TextRegion(self._tokenizer) if is_over else None

    def _enter(self, region: Region) -> Pieces:
        last, self._region = self._region, region
        self._is_thinking = isinstance(region, ThoughtRegion)
        return last.close()

    def _open_channel(self, prompt: Sequence[int]) -> Sequence[int]:
        """The prompt's end from a channel's begin on; nothing if another control token comes later."""
        for i in reversed(range(len(prompt))):
            if prompt[i] in self._control_ids:
                return prompt[i:] if prompt[i] == self._thought_begin else ()
        return ()
