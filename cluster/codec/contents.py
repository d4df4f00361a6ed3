"""Checks the conversation: who may say what, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.codec.structs import check_struct
from cluster.codec.tools import check_name
from cluster.codec.violations import Violations, listed
from model.soft_tokens import RESOLUTIONS
from protos.gemmacluster.v1.content_pb2 import (
    ROLE_MODEL,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_UNSPECIFIED,
    ROLE_USER,
    Blob,
    Content,
    Part,
    Role,
)

_MAX_CONTENTS = 4096
_MAX_PARTS = 8192
_MAX_MEDIA = 128
_ROLES = {ROLE_USER: "user", ROLE_MODEL: "model", ROLE_SYSTEM: "system", ROLE_TOOL: "tool"}
_KINDS = ("text", "inline_data", "file_data", "function_call", "function_response")
_KINDS_OF_ROLE = {
    ROLE_USER: ("text", "inline_data", "file_data"),
    ROLE_MODEL: ("text", "function_call"),
    ROLE_SYSTEM: ("text",),
    ROLE_TOOL: ("function_response",),
}


def role_of(content: Content) -> Role:
    """The role, user where none is set."""
    return ROLE_USER if content.role == ROLE_UNSPECIFIED else content.role


def check_contents(contents: Sequence[Content], is_new_turn: bool, violations: Violations) -> bool:
    """Checks a conversation, or the new turn of a session. False if its media need not be looked at."""
    if not contents:
        violations.add("contents", "is empty; send at least one content")
    if not contents or _is_oversized(contents, violations):
        return False
    for i, content in enumerate(contents):
        check_content(content, f"contents[{i}]", violations)
    _check_order(contents, is_new_turn, violations)
    return True


def check_system_instruction(content: Content, field: str, violations: Violations) -> None:
    """Instructions: any text, said by system or by nobody in particular."""
    if content.role not in (ROLE_UNSPECIFIED, ROLE_SYSTEM, ROLE_USER):
        violations.add(f"{field}.role", "must be left unset or be ROLE_SYSTEM")
        return
    check_content(Content(role=ROLE_SYSTEM, parts=content.parts), field, violations)


def check_content(content: Content, field: str, violations: Violations) -> None:
    """One content by itself."""
    role = role_of(content)
    if role not in _ROLES:
        names = listed(f"ROLE_{name.upper()}" for name in _ROLES.values())
        violations.add(f"{field}.role", f"{role} is no role; use {names}")
        return
    # A model may end its turn at once, and its answers come back as history.
    has_enough = role == ROLE_MODEL or len(content.parts) > 0
    violations.require(has_enough, f"{field}.parts", "is empty; send at least one part")
    for j, part in enumerate(content.parts):
        _check_part(part, role, f"{field}.parts[{j}]", violations)


def _is_oversized(contents: Sequence[Content], violations: Violations) -> bool:
    parts = sum(len(content.parts) for content in contents)
    media = sum(part.HasField("inline_data") for content in contents for part in content.parts)
    for what, count, most in (
        ("contents", len(contents), _MAX_CONTENTS),
        ("parts", parts, _MAX_PARTS),
        ("media", media, _MAX_MEDIA),
    ):
        if count > most:
            violations.add("contents", f"has {count} {what}; at most {most} are taken in one request")
            return True
    return False


def _check_order(contents: Sequence[Content], is_new_turn: bool, violations: Violations) -> None:
    for i, content in enumerate(contents):
        role, field = role_of(content), f"contents[{i}].role"
        if is_new_turn and role in (ROLE_MODEL, ROLE_SYSTEM):
            violations.add(field, f"a request with a session holds only the new turn, no {_ROLES[role]} content")
        elif role == ROLE_SYSTEM and i > 0:
            violations.add(field, "a system content can only be the first")
        elif role == ROLE_TOOL and not _answers_a_call(contents, i, is_new_turn):
            violations.add(field, "a tool content must follow the model content that has the function_call")
    if role_of(contents[-1]) in (ROLE_MODEL, ROLE_SYSTEM) and not is_new_turn:
        last = len(contents) - 1
        violations.add(f"contents[{last}].role", "the last content must be a user's or a tool's")


def _answers_a_call(contents: Sequence[Content], i: int, is_new_turn: bool) -> bool:
    if i == 0:
        return is_new_turn  # the call is then in the session
    before = contents[i - 1]
    has_call = any(part.HasField("function_call") for part in before.parts)
    return role_of(before) == ROLE_TOOL or (role_of(before) == ROLE_MODEL and has_call)


def _check_part(part: Part, role: Role, field: str, violations: Violations) -> None:
    kind = part.WhichOneof("data")
    if kind is None:
        violations.add(field, f"nothing is set; set {listed(_KINDS)}")
    elif kind not in _KINDS_OF_ROLE[role]:
        allowed = listed(_KINDS_OF_ROLE[role])
        violations.add(f"{field}.{kind}", f"a {_ROLES[role]} content holds {allowed}, not {kind}")
    else:
        _check_data(part, kind, f"{field}.{kind}", violations)
    if part.thought and not (role == ROLE_MODEL and kind == "text"):
        violations.add(f"{field}.thought", "only text of a model content can be a thought")


def _check_data(part: Part, kind: str, field: str, violations: Violations) -> None:
    if kind == "text":
        violations.require(part.text != "", field, "is empty")
    elif kind == "inline_data":
        _check_resolution(part.inline_data, f"{field}.max_soft_tokens", violations)
    elif kind == "function_call":
        check_name(part.function_call.name, f"{field}.name", violations)
        check_struct(part.function_call.args, f"{field}.args", violations)
    elif kind == "function_response":
        check_name(part.function_response.name, f"{field}.name", violations)
        check_struct(part.function_response.response, f"{field}.response", violations)


def _check_resolution(blob: Blob, field: str, violations: Violations) -> None:
    if not blob.HasField("max_soft_tokens"):
        return
    if blob.mime_type.strip().lower().startswith("audio/"):
        violations.add(field, "must be left unset: only images and videos have a resolution")
    elif blob.max_soft_tokens not in RESOLUTIONS:
        violations.add(field, f"must be {listed(map(str, RESOLUTIONS))}, not {blob.max_soft_tokens}")
