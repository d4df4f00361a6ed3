"""What a skill produces: a conversation whose answers are right, in the chat format of Hugging Face."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

# "test" draws names, sizes, voices and sentences that "train" never does.
Split = Literal["train", "test"]
Message = dict[str, Any]


@dataclass(frozen=True)
class Dialogue:
    """Messages with roles system, user, assistant and tool; the last one is the assistant's and is what is scored.

    `content` is text, or a list of parts: {"type": "text", "text": ...}, {"type": "image", "image": PIL.Image,
    "scene": Scene} and {"type": "audio", "audio": float32 samples [N] at 16 kHz, "words": what is said}. A call is
    {"role": "assistant", "tool_calls": [...]}.
    `tools` are declarations as JSON schema.
    """

    skill: str
    messages: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)


# One more dialogue at every call. All chance comes from the generator, so a seed names a dialogue for good.
Skill = Callable[[random.Random, Split], Dialogue]
