"""Which of the recent response formats are sound, and their grammars."""

from collections import OrderedDict

from model.constraint.errors import ConstraintError
from model.constraint.grammar import grammar_of
from model.constraint.trial import try_grammar
from model.runtime.response_format import ResponseFormat

_MAX_KEPT = 256


class SoundGrammars:
    """Tries each format once. Not for several threads at once, nor for the engine's: a new one takes up to seconds."""

    def __init__(self) -> None:
        self._tried: OrderedDict[ResponseFormat, str | ConstraintError] = OrderedDict()

    def of(self, response_format: ResponseFormat) -> str:
        """The format's grammar. Raises ConstraintError, remembered too: refusals may have taken longest."""
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
