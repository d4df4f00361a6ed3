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
    """One message a turn, but the results of function calls, and what the model says to them, go into the message of
    the calls. Roles other than model and tool are the user's.
    """
    messages: list[Message] = []
    if system is not None:
        messages.append({"role": "system", "content": _text(system.parts)})
    for content in contents:
        if content.role == ROLE_MODEL:
            _add_answer(messages, content)
        elif content.role == ROLE_TOOL:
            _add_results(messages, content)
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


def _add_answer(messages: list[Message], content: Content) -> None:
    """A content of nothing but thoughts adds nothing."""
    spoken = [part for part in content.parts if not part.thought]
    calls = [_call(part) for part in spoken if part.HasField("function_call")]
    if calls:
        # Templates keep the thoughts before a call that is being answered, and drop all others. What is said beside
        # calls goes with them: as content, it would stand behind the calls' results, as if said to those.
        thoughts = "".join(part.text for part in content.parts if part.thought)
        reasoning = "\n".join(filter(None, [thoughts, _text(spoken)]))
        message: Message = {"role": "assistant", "content": "", "tool_calls": calls}
        messages.append(message | ({"reasoning": reasoning} if reasoning else {}))
    elif messages and messages[-1].get("tool_responses") and not messages[-1]["content"]:
        messages[-1]["content"] = _text(spoken)
    elif spoken:
        messages.append({"role": "assistant", "content": _text(spoken)})


def _add_results(messages: list[Message], content: Content) -> None:
    """Results stand beside their calls: the only form that every version of Gemma's template takes."""
    results = [part.function_response for part in content.parts]
    if messages and messages[-1].get("tool_calls"):
        responses = [{"name": result.name, "response": plain(result.response)} for result in results]
        messages[-1].setdefault("tool_responses", []).extend(responses)
    else:  # for the template to refuse
        messages += ({"role": "tool", "name": result.name, "content": plain(result.response)} for result in results)


def _call(part: Part) -> Message:
    call = part.function_call
    function = {"name": call.name, "arguments": plain(call.args)}
    return {"type": "function", "function": function} | ({"id": call.id} if call.id else {})


def _text(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts)
