"""Public contents as the message dicts that Hugging Face chat templates take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from cluster.codec.structs import plain
from cluster.media.kinds import kind_of
from protos.gemmacluster.v1.content_pb2 import ROLE_MODEL, ROLE_TOOL, Content, FunctionDeclaration, Part

Message = dict[str, Any]


def to_messages(contents: Iterable[Content], system: Content | None) -> list[Message]:
    """One message a turn, and one for each function result. Roles other than model and tool are the user's."""
    messages: list[Message] = []
    if system is not None:
        messages.append({"role": "system", "content": _text(system.parts)})
    for content in contents:
        if content.role == ROLE_MODEL:
            messages += _model_messages(content)
        elif content.role == ROLE_TOOL:
            messages += map(_tool_message, content.parts)
        else:
            messages.append({"role": "user", "content": list(_user_items(content.parts))})
    return messages


def to_tools(tools: Sequence[FunctionDeclaration]) -> list[Message] | None:
    """Function declarations as JSON schemas; None if there are none."""
    return [{"type": "function", "function": _declaration(tool)} for tool in tools] or None


def _declaration(tool: FunctionDeclaration) -> Message:
    declaration = {"name": tool.name, "description": tool.description}
    return declaration | ({"parameters": plain(tool.parameters)} if tool.parameters.fields else {})


def _user_items(parts: Iterable[Part]) -> Iterator[Message]:
    # Texts side by side are one text: a template trims each item.
    for is_text, group in groupby(parts, lambda part: part.HasField("text")):
        if is_text:
            yield {"type": "text", "text": _text(group)}
        else:
            yield from ({"type": kind_of(part.inline_data.mime_type).modality} for part in group)


def _model_messages(content: Content) -> list[Message]:
    """At most one message: a content of nothing but thoughts is none."""
    spoken = [part for part in content.parts if not part.thought]
    calls = [_call(part) for part in spoken if part.HasField("function_call")]
    message: Message = {"role": "assistant", "content": _text(spoken)}
    if calls:
        # Templates keep the thoughts before a call that is being answered, and drop all others.
        thoughts = _text(part for part in content.parts if part.thought)
        message |= {"tool_calls": calls} | ({"reasoning": thoughts} if thoughts else {})
    return [message] if spoken else []


def _call(part: Part) -> Message:
    call = part.function_call
    function = {"name": call.name, "arguments": plain(call.args)}
    return {"type": "function", "function": function} | ({"id": call.id} if call.id else {})


def _tool_message(part: Part) -> Message:
    result = part.function_response
    message = {"role": "tool", "name": result.name, "content": plain(result.response)}
    return message | ({"tool_call_id": result.id} if result.id else {})


def _text(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts)
