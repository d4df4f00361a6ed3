"""How people type in a hurry: no capital at the beginning, no full stop or question mark at the end."""

import re
from dataclasses import replace
from typing import Any

from model.pocket.dialogue import Dialogue, Message
from model.pocket.tokenizer import lexicon


def casual(dialogue: Dialogue) -> Dialogue:
    """The same dialogue with everything that the user says like that; names keep their capital."""
    return replace(dialogue, messages=[_typed(message) for message in dialogue.messages])


def _typed(message: Message) -> Message:
    if message["role"] != "user":
        return message
    content = message["content"]
    if isinstance(content, str):
        return message | {"content": _lowered(content)}
    return message | {"content": [_part(part) for part in content]}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    return part | {"text": _lowered(part["text"])} if part["type"] == "text" else part


def _lowered(text: str) -> str:
    first = re.match("[A-Z][a-z]*", text)
    if first and first[0] in lexicon() and first[0] != "I":
        text = text[0].lower() + text[1:]
    return text.rstrip(".?!")
