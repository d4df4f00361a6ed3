"""A dialogue as the API's messages."""

import io
import wave
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from cluster.client import function
from model.pocket.dialogue import Dialogue, Message
from model.pocket.speech.espeak import SAMPLING_RATE_HZ
from protos.gemmacluster.v1.content_pb2 import (
    ROLE_MODEL,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Content,
    FunctionDeclaration,
    Part,
    Role,
)

_ROLES: dict[str, Role] = {"system": ROLE_SYSTEM, "user": ROLE_USER, "assistant": ROLE_MODEL, "tool": ROLE_TOOL}


def question(dialogue: Dialogue) -> list[Content]:
    """All that stands before the answer."""
    return [Content(role=_ROLES[message["role"]], parts=_parts(message)) for message in dialogue.messages[:-1]]


def tools(dialogue: Dialogue) -> list[FunctionDeclaration]:
    """What the model may call."""
    declared = [tool["function"] for tool in dialogue.tools]
    return [function(tool["name"], tool["description"], **tool["parameters"]["properties"]) for tool in declared]


def _parts(message: Message) -> Iterator[Part]:
    content = message["content"]
    if message["role"] == "tool":
        yield _result(message["name"], content)
    elif isinstance(content, list):
        yield from map(_part, content)
    elif content:
        yield Part(text=content)
    for call in message.get("tool_calls", ()):
        yield _call(call["function"])


def _part(part: dict[str, Any]) -> Part:
    match part["type"]:
        case "image":
            return Part(inline_data={"mime_type": "image/png", "data": png(part["image"])})
        case "audio":
            return Part(inline_data={"mime_type": "audio/wav", "data": wav(part["audio"])})
    return Part(text=part["text"])


def _call(called: dict[str, Any]) -> Part:
    part = Part(function_call={"name": called["name"]})
    part.function_call.args.update(called["arguments"])
    return part


def _result(name: str, returned: dict[str, Any]) -> Part:
    part = Part(function_response={"name": name})
    part.function_response.response.update(returned)
    return part


def png(image: Image.Image) -> bytes:
    """The picture, pixel by pixel."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def wav(samples_N: np.ndarray) -> bytes:
    """Samples in -1..1 as 16-bit sound of one channel."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLING_RATE_HZ)
        sound.writeframes(np.round(samples_N * (2**15 - 1)).astype("<i2").tobytes())
    return file.getvalue()
