"""What was answered and what should have been; both are compared exactly."""

import json
from dataclasses import dataclass
from typing import Any

from cluster.codec.structs import plain
from model.pocket.dialogue import Dialogue
from protos.gemmacluster.v1.content_pb2 import Content


@dataclass(frozen=True)
class Answer:
    """Text without the space around it, and functions called, each with its arguments."""

    text: str
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()

    def __str__(self) -> str:
        calls = [f"{name}({json.dumps(arguments)})" for name, arguments in self.calls]
        return " ".join([repr(self.text)] * bool(self.text or not calls) + calls)


def wanted(dialogue: Dialogue) -> Answer:
    """The dialogue's last message."""
    message = dialogue.messages[-1]
    functions = [call["function"] for call in message.get("tool_calls", ())]
    return Answer(message["content"].strip(), tuple((called["name"], called["arguments"]) for called in functions))


def given(content: Content) -> Answer:
    """What a variant said; its thoughts do not count."""
    spoken = [part for part in content.parts if not part.thought]
    calls = [part.function_call for part in spoken if part.HasField("function_call")]
    return Answer("".join(part.text for part in spoken).strip(), tuple((call.name, plain(call.args)) for call in calls))
