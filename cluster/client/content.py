"""Turns of a conversation from plain values: text, files, functions and what they returned."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protos.gemmacluster.v1 import content_pb2

# The system's own tables often lack these; a slim container has none at all.
_MIME_TYPES = {
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
}


def text_content(text: str, role: content_pb2.Role = content_pb2.ROLE_USER) -> content_pb2.Content:
    """A turn of text."""
    return content_pb2.Content(role=role, parts=[content_pb2.Part(text=text)])


def function(name: str, description: str, /, **parameters: Any) -> content_pb2.FunctionDeclaration:
    """A function the model may call: each parameter's JSON schema by its name. All of them are required."""
    tool = content_pb2.FunctionDeclaration(name=name, description=description)
    if parameters:
        tool.parameters.update({"type": "object", "properties": parameters, "required": list(parameters)})
    return tool


def function_results(*results: tuple[content_pb2.FunctionCall, Mapping[str, Any]]) -> content_pb2.Content:
    """The turn that answers the model's calls, each with what its function returned."""
    content = content_pb2.Content(role=content_pb2.ROLE_TOOL)
    for call, returned in results:
        part = content.parts.add(function_response={"id": call.id, "name": call.name})
        part.function_response.response.update(returned)
    return content


def media_part(path: str | Path) -> content_pb2.Part:
    """A file as a part; its media type is told by its name."""
    known = _MIME_TYPES.get(Path(path).suffix.lower())
    mime_type = known or mimetypes.guess_type(str(path))[0] or "application/octet-stream"
    blob = content_pb2.Blob(mime_type=mime_type, data=Path(path).read_bytes())
    return content_pb2.Part(inline_data=blob)
