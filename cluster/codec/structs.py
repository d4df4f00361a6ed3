"""google.protobuf.Struct as plain Python, checked first: depth bounded, numbers finite."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.struct_pb2 import ListValue, Struct, Value

from cluster.codec.violations import Violations

MAX_DEPTH = 24


def check_struct(struct: Struct, field: str, violations: Violations) -> bool:
    """Whether it is sound; if not, adds a violation: a value that JSON cannot hold, or nested too deep."""
    problem = _problem_of_fields(struct, 1)
    violations.require(not problem, field, problem)
    return not problem


def plain(struct: Struct) -> dict[str, Any]:
    """As dicts, lists, strings, numbers, booleans and None. Whole numbers come out as int. Only after a check."""
    return {name: _plain_value(value) for name, value in struct.fields.items()}


def _problem_of_fields(struct: Struct, depth: int) -> str:
    problems = (_problem(value, depth) for value in struct.fields.values())
    return next(filter(None, problems), "")


def _problem(value: Value, depth: int) -> str:
    kind = value.WhichOneof("kind")
    if kind is None:
        return "holds a value of no kind"
    if kind == "number_value":
        return "" if math.isfinite(value.number_value) else "holds a number that is not finite"
    if kind not in ("struct_value", "list_value"):
        return ""
    if depth >= MAX_DEPTH:
        return f"is nested deeper than {MAX_DEPTH} levels"
    if kind == "struct_value":
        return _problem_of_fields(value.struct_value, depth + 1)
    return _problem_of_list(value.list_value, depth + 1)


def _problem_of_list(values: ListValue, depth: int) -> str:
    return next(filter(None, (_problem(value, depth) for value in values.values)), "")


def _plain_value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return plain(value.struct_value)
    if kind == "list_value":
        return [_plain_value(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return None if kind == "null_value" else getattr(value, str(kind))
