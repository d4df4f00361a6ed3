"""Response formats as grammars of llguidance."""

import json
import re
from typing import Any

from llguidance import LLMatcher, LLParserLimits

from model.constraint.errors import ConstraintError
from model.runtime.response_format import ResponseFormat

_ANY_OBJECT = '{"type": "object"}'
# They win over an "x-guidance" in a caller's schema. Blanks are those of a printer, on one line or indented: a model
# that may write any number of them can go on for ever.
_JSON_OPTIONS: Any = {
    "item_separator": ",",
    "key_separator": ":",
    "whitespace_flexible": True,
    "whitespace_pattern": r" ?|\n[ \t]{0,32}",
    "coerce_one_of": False,
    "lenient": False,
}
_META = re.compile(r"[\\.+*?()|\[\]{}^$]")


def parser_limits() -> LLParserLimits:
    """Of one mask: some 10 ms. The lexer's states suffice for strings of some 25,000 characters of bounded length."""
    return LLParserLimits(step_lexer_fuel=100_000, verbose_errors=False)


def grammar_of(response_format: ResponseFormat) -> str:
    """The grammar, not yet looked at. Raises ConstraintError for text that is none at all."""
    kind, text = response_format.kind, response_format.text
    if kind == "regex":
        return _regex(text)
    if kind == "choice":
        return _regex("|".join(_META.sub(r"\\\g<0>", choice) for choice in json.loads(text)))
    try:
        return LLMatcher.grammar_from_json_schema(
            text if kind == "json_schema" else _ANY_OBJECT, overrides=_JSON_OPTIONS
        )
    except ValueError as error:
        raise ConstraintError(f"is no JSON schema: {error}") from error


def _regex(text: str) -> str:
    if (len(text) - len(text.rstrip("\\"))) % 2:  # the library would leave it out
        raise ConstraintError("ends with a lone backslash")
    return LLMatcher.grammar_from_regex(text)
