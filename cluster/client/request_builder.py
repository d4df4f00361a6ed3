"""A request from plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cluster.client.content import media_part, text_content
from cluster.errors import InvalidRequest
from protos.gemmacluster.v1 import content_pb2, generation_pb2

_PREFERENCES = {
    "fast": generation_pb2.ROUTING_PREFERENCE_FAST,
    "balanced": generation_pb2.ROUTING_PREFERENCE_BALANCED,
    "best": generation_pb2.ROUTING_PREFERENCE_BEST,
}
_PRIORITIES = {"interactive": generation_pb2.PRIORITY_INTERACTIVE, "batch": generation_pb2.PRIORITY_BATCH}
T = TypeVar("T")
Message = str | content_pb2.Content | Sequence[content_pb2.Content]


def request(
    message: Message,
    *,
    model: str = "auto",
    session: str = "",
    system: str | None = None,
    media: Sequence[str | Path] = (),
    tools: Sequence[content_pb2.FunctionDeclaration] = (),
    allowed_variants: Sequence[str] = (),
    preference: str = "",
    priority: str = "",
    request_id: str = "",
    resumable: bool = False,
    **generation_config: Any,
) -> generation_pb2.GenerateRequest:
    """A GenerateRequest from plain values. `media` are files put before the text; `tools` are what the model may call
    (see `function`); `preference` is fast, balanced or best, `priority` interactive or batch; with a `request_id` a
    retry gets the same answer, and with `resumable` too, `Client.resume` takes it up again; the rest are the fields of
    GenerationConfig (`max_output_tokens`, `temperature`, `seed`, …).

    Raises InvalidRequest for values that a message cannot hold, OSError for a file that cannot be read."""
    with _refused_as_invalid():
        built = generation_pb2.GenerateRequest(
            model=model,
            session_id=session,
            request_id=request_id,
            resumable=resumable,
            contents=_contents(message, media),
            tools=tools,
            generation_config=generation_pb2.GenerationConfig(**generation_config),
        )
        if system is not None:
            built.system_instruction.CopyFrom(text_content(system, content_pb2.ROLE_SYSTEM))
        built.routing.allowed_variants.extend(allowed_variants)
        if preference:
            built.routing.preference = _chosen("routing.preference", preference, _PREFERENCES)
        if priority:
            built.priority = _chosen("priority", priority, _PRIORITIES)
    return built


def _contents(message: Message, media: Sequence[str | Path]) -> list[content_pb2.Content]:
    if isinstance(message, str):
        parts = [*map(media_part, media), content_pb2.Part(text=message)]
        return [content_pb2.Content(role=content_pb2.ROLE_USER, parts=parts)]
    if isinstance(message, content_pb2.Content):
        return [message]
    return list(message)


def _chosen(field: str, name: str, choices: Mapping[str, T]) -> T:
    if name not in choices:
        raise InvalidRequest.of(field, f"must be {', '.join(choices)}, not {name!r}")
    return choices[name]


@contextmanager
def _refused_as_invalid() -> Iterator[None]:
    """Protobuf refuses unknown names, numbers out of range and text that is no UTF-8 with ValueErrors."""
    try:
        yield
    except ValueError as error:
        raise InvalidRequest.of("request", str(error)) from error
