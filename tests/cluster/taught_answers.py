"""A conversation that a taught checkpoint knows its part of: thoughts, calls, and what it says to their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.client import function, function_results, text_content
from cluster.prompt import PromptBuilder
from model.tiny import ensure_tiny
from model.tokenizer import Tokenizer
from protos.gemmacluster.v1.content_pb2 import ROLE_MODEL, Content, FunctionCall, FunctionDeclaration, Part
from tests.model.taught_checkpoint import write_taught

TOOL = function("get_weather", "Weather of a city", city={"type": "string"}, days={"type": "integer"})
RESULT = {"sky": "clear", "celsius": 21.5}
PARIS = '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>'
OSLO = '<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>,days:1}<tool_call|>'


@dataclass(frozen=True)
class Exchange:
    """What the model is told, and how it spells its answer."""

    contents: Sequence[Content]
    spelled: str
    thinking: bool = True
    tools: Sequence[FunctionDeclaration] = (TOOL,)


def _called(thought: str) -> list[Content]:
    """The call of PARIS, and its result."""
    call = FunctionCall(name="get_weather")
    call.args.update({"city": "Paris", "days": 3})
    parts = [Part(text=thought, thought=True), Part(function_call=call)]
    return [Content(role=ROLE_MODEL, parts=parts), function_results((call, RESULT))]


HELLO = Exchange([text_content("Hello?")], "<|channel>thought\nHm, a greeting.\n<channel|>Hello there<turn|>", tools=())
ASK = Exchange([text_content("Sun in Paris?")], f"<|channel>thought\nI must look.\n<channel|>{PARIS}<|tool_response>")
TOLD = Exchange([*ASK.contents, *_called("I must look.")], "Clear for three days.<turn|>")
BOTH = Exchange([text_content("And Oslo?")], f"Let me see. {PARIS}{OSLO}<|tool_response>", thinking=False)
BROKEN = Exchange([text_content("Break it")], '<|tool_call>call:get_weather{city:<|"|>Par<turn|>', thinking=False)
SILENT = Exchange([text_content("Be silent")], "<turn|>", thinking=False)
EXCHANGES = (HELLO, ASK, TOLD, BOTH, BROKEN, SILENT)


def write_taught_answers(path: Path) -> Path:
    """A checkpoint that gives these answers to these prompts."""
    tiny = ensure_tiny("e2b")
    builder, tokenizer = PromptBuilder(tiny), Tokenizer.from_checkpoint(tiny)

    def taught(item: Exchange) -> tuple[list[int], list[int]]:
        prompt = builder.build(item.contents, thinking=item.thinking, tools=item.tools)
        return prompt.token_ids, tokenizer.encode(item.spelled)

    return write_taught(path, list(map(taught, EXCHANGES)))
