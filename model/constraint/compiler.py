"""Compiles response formats for one vocabulary; remembers which of the recent ones are sound."""

from collections import OrderedDict
from collections.abc import Collection, Sequence

from llguidance import LLMatcher

from model.constraint.constraint import Constraint
from model.constraint.errors import ConstraintError
from model.constraint.grammar import grammar_of, parser_limits
from model.constraint.trial import try_grammar
from model.constraint.vocabulary import CHANNEL_BEGIN, CHANNEL_END, THINK, build_vocabulary, control_ids
from model.runtime.response_format import ResponseFormat
from model.tokenizer import Tokenizer

_MAX_KEPT = 256


class ConstraintCompiler:
    """Not for several threads at once, and not for the engine's: a format that is new takes up to seconds."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_ids: Collection[int]) -> None:
        self._vocabulary = build_vocabulary(tokenizer, vocab_size, eos_ids) if eos_ids else None
        self._eos_ids = frozenset(eos_ids)
        self._begin, self._end = tokenizer.token_id(CHANNEL_BEGIN), tokenizer.token_id(CHANNEL_END)
        self._think = tokenizer.token_id(THINK)
        self._control_ids = control_ids(tokenizer)
        self._tried: OrderedDict[ResponseFormat, str | ConstraintError] = OrderedDict()

    def constraint(self, response_format: ResponseFormat, prompt: Sequence[int]) -> Constraint:
        """For the answer to a prompt. Raises ConstraintError for a format that cannot be used.

        Each answer has a matcher of its own, some milliseconds' work: copies of one would share its automata, and
        what grew too complex in one answer would fail in all others.
        """
        if self._vocabulary is None:
            raise ConstraintError("needs a checkpoint with end tokens")
        grammar = self._sound_grammar(response_format)
        matcher = LLMatcher(self._vocabulary, grammar, log_level=0, limits=parser_limits())
        if matcher.is_error():
            raise ConstraintError.of_library(matcher.get_error())
        last_control = next((token for token in reversed(prompt) if token in self._control_ids), None)
        return Constraint(
            matcher,
            self._eos_ids,
            begin=self._begin if self._think in prompt else None,
            end=self._end,
            is_thinking=last_control is not None and last_control == self._begin,
        )

    def _sound_grammar(self, response_format: ResponseFormat) -> str:
        """Refusals are remembered too: they may have taken longest."""
        if response_format not in self._tried:
            self._tried[response_format] = _try(response_format)
            if len(self._tried) > _MAX_KEPT:
                self._tried.popitem(last=False)
        self._tried.move_to_end(response_format)
        result = self._tried[response_format]
        if isinstance(result, ConstraintError):
            raise result
        return result


def _try(response_format: ResponseFormat) -> str | ConstraintError:
    try:
        grammar = grammar_of(response_format)
        try_grammar(grammar)
    except ConstraintError as error:
        return error
    return grammar
