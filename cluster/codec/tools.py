"""Checks function declarations, calls and results."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from google.protobuf.struct_pb2 import Struct

from cluster.codec.structs import check_struct, plain
from cluster.codec.violations import Violations, shown
from protos.gemmacluster.v1.content_pb2 import FunctionDeclaration

_MAX_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_NAME_RULE = "must be 1 to 64 letters, digits or underscores"


def check_name(name: str, field: str, violations: Violations) -> None:
    """A function's name."""
    violations.require(bool(_NAME.fullmatch(name)), field, f"{_NAME_RULE}, not {shown(name)}")


def check_tools(tools: Sequence[FunctionDeclaration], violations: Violations) -> None:
    """Names well formed and unique, parameters object schemas."""
    if len(tools) > _MAX_TOOLS:
        violations.add("tools", f"has {len(tools)} functions; at most {_MAX_TOOLS} are taken")
        return
    counts = Counter(tool.name for tool in tools)
    for i, tool in enumerate(tools):
        check_name(tool.name, f"tools[{i}].name", violations)
        violations.require(counts[tool.name] == 1, f"tools[{i}].name", f"{shown(tool.name)} is declared twice")
        if tool.parameters.fields:
            _check_parameters(tool.parameters, f"tools[{i}].parameters", violations)


def _check_parameters(parameters: Struct, field: str, violations: Violations) -> None:
    if check_struct(parameters, field, violations):
        problem = _schema_problem(plain(parameters))
        violations.require(not problem, field, problem)


def _schema_problem(schema: dict[str, Any]) -> str:
    kind, properties = schema.get("type"), schema.get("properties", {})
    if not isinstance(kind, str) or kind.lower() != "object":
        return 'must be an object schema: "type" must be "object"'
    if not isinstance(properties, dict) or not all(isinstance(item, dict) for item in properties.values()):
        return '"properties" must map each name to a schema'
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        return '"required" must be a list of names'
    unknown = [name for name in required if name not in properties]
    return f'"required" names {shown(unknown[0])}, which "properties" lacks' if unknown else ""
