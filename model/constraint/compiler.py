"""Compiles response formats for one vocabulary."""

from collections.abc import Collection, Sequence

from llguidance import LLMatcher

from model.constraint.channel import Channel
from model.constraint.constraint import Constraint
from model.constraint.errors import ConstraintError
from model.constraint.grammar import parser_limits
from model.constraint.sound import SoundGrammars
from model.constraint.vocabulary import CHANNEL_BEGIN, CHANNEL_END, build_vocabulary
from model.runtime.response_format import ResponseFormat
from model.tokenizer import Tokenizer


class ConstraintCompiler:
    """Not for several threads at once, and not for the engine's: a format that is new takes up to seconds."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_ids: Collection[int]) -> None:
        self._vocabulary = build_vocabulary(tokenizer, vocab_size, eos_ids) if eos_ids else None
        self._eos_ids = frozenset(eos_ids)
        self._tokenizer = tokenizer
        self._begin, self._end = tokenizer.token_id(CHANNEL_BEGIN), tokenizer.token_id(CHANNEL_END)
        self._grammars = SoundGrammars()

    def constraint(self, response_format: ResponseFormat, prompt: Sequence[int]) -> Constraint:
        """For the answer to a prompt. Raises ConstraintError for a format that cannot be used.

        Each answer has a matcher of its own, some milliseconds' work: copies of one would share its automata, and
        what grew too complex in one answer would fail in all others.
        """
        if self._vocabulary is None:
            raise ConstraintError("needs a checkpoint with end tokens")
        grammar = self._grammars.of(response_format)
        matcher = LLMatcher(self._vocabulary, grammar, log_level=0, limits=parser_limits())
        if matcher.is_error():
            raise ConstraintError.of_library(matcher.get_error())
        channel = Channel.after(prompt, self._tokenizer)
        return Constraint(
            matcher,
            self._eos_ids,
            begin=self._begin if channel.may_open else None,
            end=self._end,
            is_thinking=channel.is_open,
        )
