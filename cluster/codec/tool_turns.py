"""Checks results of function calls against the calls of the session that they continue."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.codec.violations import Violations, listed, shown
from protos.gemmacluster.v1.content_pb2 import ROLE_TOOL, Content, FunctionCall, FunctionResponse


def check_results(contents: Sequence[Content], history: Sequence[Content]) -> None:
    """Every result in the new turn must answer a call of the session's last content.

    A result with an id answers the call of that id, one without any call of its name. Raises InvalidRequest.
    """
    last = history[-1].parts if history else ()
    calls = [part.function_call for part in last if part.HasField("function_call")]
    violations = Violations()
    for i, content in enumerate(contents):
        for j, part in enumerate(content.parts if content.role == ROLE_TOOL else ()):
            if not any(_answers(part.function_response, call) for call in calls):
                field = f"contents[{i}].parts[{j}].function_response"
                violations.add(field, f"answers no call of the session's last turn, {_named(calls)}")
    violations.raise_any()


def _answers(result: FunctionResponse, call: FunctionCall) -> bool:
    return result.name == call.name and result.id in ("", call.id)


def _named(calls: Sequence[FunctionCall]) -> str:
    if not calls:
        return "which has none"
    return f"which has {listed(f'{shown(call.name)} with id {shown(call.id)}' for call in calls)}"
