"""Checks the shape and size of a response format; whether it compiles, the replica finds out."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.codec.structs import check_struct
from cluster.codec.violations import Violations
from protos.gemmacluster.v1.generation_pb2 import ResponseFormat

_FIELD = "generation_config.response_format"
_MAX_SCHEMA_BYTES = 65_536
_MAX_REGEX_CHARS = 4096
_MAX_CHOICES = 256
_MAX_CHOICE_CHARS = 1024


def check_response_format(response_format: ResponseFormat, has_tools: bool, violations: Violations) -> None:
    """One without a format is free text."""
    kind = response_format.WhichOneof("format")
    if kind is not None and has_tools:
        violations.add(_FIELD, "cannot be combined with tools")
    if kind == "json_schema":
        _check_schema(response_format, violations)
    elif kind == "regex":
        _check_chars(response_format.regex, _MAX_REGEX_CHARS, f"{_FIELD}.regex", violations)
    elif kind == "choice":
        _check_choices(response_format.choice.texts, violations)


def _check_schema(response_format: ResponseFormat, violations: Violations) -> None:
    field, size = f"{_FIELD}.json_schema", response_format.json_schema.ByteSize()
    if size > _MAX_SCHEMA_BYTES:
        violations.add(field, f"has {size} bytes; at most {_MAX_SCHEMA_BYTES} are taken")
    else:
        check_struct(response_format.json_schema, field, violations)


def _check_choices(texts: Sequence[str], violations: Violations) -> None:
    field = f"{_FIELD}.choice.texts"
    if not 1 <= len(texts) <= _MAX_CHOICES:
        violations.add(field, f"must have 1 to {_MAX_CHOICES} texts, not {len(texts)}")
        return
    for i, text in enumerate(texts):
        _check_chars(text, _MAX_CHOICE_CHARS, f"{field}[{i}]", violations)


def _check_chars(text: str, most: int, field: str, violations: Violations) -> None:
    violations.require(1 <= len(text) <= most, field, f"must have 1 to {most} characters, not {len(text)}")
