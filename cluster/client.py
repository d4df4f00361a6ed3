"""The Python client: needs neither Ray nor torch.

with Client("127.0.0.1:50051") as client:
    for piece in client.stream("Why is the sky blue?"):
        print(piece.text, end="")
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc
from grpc_status import rpc_status

from cluster.errors import AlreadyExists, InvalidRequest, error_from_status
from protos.gemmacluster.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    content_pb2,
    generation_pb2,
    generation_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
)

DEFAULT_ADDRESS = "127.0.0.1:50051"
_MAX_MESSAGE_BYTES = 2**31 - 1
_RETRY_BUFFER_BYTES = 64 * 1024 * 1024
_PREFERENCES = {
    "fast": generation_pb2.ROUTING_PREFERENCE_FAST,
    "balanced": generation_pb2.ROUTING_PREFERENCE_BALANCED,
    "best": generation_pb2.ROUTING_PREFERENCE_BEST,
}
_PRIORITIES = {"interactive": generation_pb2.PRIORITY_INTERACTIVE, "batch": generation_pb2.PRIORITY_BATCH}
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
T = TypeVar("T")
Message = str | content_pb2.Content | Sequence[content_pb2.Content]


@dataclass(frozen=True)
class Piece:
    """A piece of a streamed answer, and the whole message for what else it holds.

    `text` is for the reader, `thought` is the model's reasoning, `calls` are functions that it wants called. `queue` is
    all that a message has which only tells how the request stands while it waits.
    """

    text: str
    response: generation_pb2.StreamGenerateResponse
    thought: str = ""
    calls: tuple[content_pb2.FunctionCall, ...] = ()

    @property
    def queue(self) -> generation_pb2.QueueStatus | None:
        """None in every piece of the answer itself."""
        return self.response.queue_status if self.response.HasField("queue_status") else None

    @classmethod
    def of(cls, response: generation_pb2.StreamGenerateResponse) -> Piece:
        """What one message of a stream adds."""
        parts = response.content.parts
        text, thought = ("".join(part.text for part in parts if part.thought == wanted) for wanted in (False, True))
        calls = tuple(part.function_call for part in parts if part.HasField("function_call"))
        return cls(text, response, thought, calls)


class Client:
    """Talks to one gateway. Safe to share between threads. Raises the errors of `cluster.errors`, or grpc.RpcError
    for what never reached the gateway."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float | None = None,
        retries: int = 0,
        caller: str = "",
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """`timeout_s` is the deadline of each call, None for none.

        A call that fails before its first message because its gateway leaves, or a part of the cluster is away, is
        made again up to `retries` times, at most 4. Those up to 64 MiB are. `caller` is the name under which the
        gateway counts the calls, unless a proxy gives another. `credentials` are for a gateway with TLS, as of
        `grpc.ssl_channel_credentials` or `cluster.credentials.environment_credentials`.
        """
        self._timeout_s = timeout_s
        self._metadata = (("x-caller-id", caller),) if caller else ()
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ]
        if retries:
            options += _retry_options(retries)
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options=options)
        else:
            self._channel = grpc.secure_channel(address, credentials, options=options)
        self._generation = generation_pb2_grpc.GenerationServiceStub(self._channel)
        self._sessions = session_pb2_grpc.SessionServiceStub(self._channel)
        self._models = model_pb2_grpc.ModelServiceStub(self._channel)
        self._admin = admin_pb2_grpc.AdminServiceStub(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and all that runs on it."""
        self._channel.close()

    def stream(self, message: Message, *, queue_status: bool = False, **options: Any) -> Generator[Piece, None, None]:
        """Streams an answer. Leaving the loop early, or closing the iterator, cancels it. Options: see `request`.

        With `queue_status`, pieces whose `queue` tells how the request stands come each second while it waits.
        """
        wrapped = generation_pb2.StreamGenerateRequest(request=request(message, **options), queue_status=queue_status)
        with closing(self.raw_stream(wrapped)) as responses:
            for response in responses:
                yield Piece.of(response)

    def raw_stream(
        self, wrapped: generation_pb2.StreamGenerateRequest
    ) -> Generator[generation_pb2.StreamGenerateResponse, None, None]:
        """The same for a request made by hand. Closing the generator cancels the call."""
        call = self._generation.StreamGenerate(wrapped, timeout=self._timeout_s, metadata=self._metadata)
        try:
            with _our_errors():
                yield from call
        finally:
            call.cancel()

    def resume(self, request_id: str, after_chunk_index: int | None = None) -> Generator[Piece, None, None]:
        """Streams the rest of a resumable answer, from any gateway: what is behind the last message that arrived, else
        all. Leaving the loop early ends this call, not the answer."""
        message = generation_pb2.ResumeGenerateRequest(request_id=request_id, after_chunk_index=after_chunk_index)
        call = self._generation.ResumeGenerate(message, timeout=self._timeout_s, metadata=self._metadata)
        try:
            with _our_errors():
                for response in call:
                    yield Piece.of(response.chunk)
        finally:
            call.cancel()

    def generate(self, message: Message, **options: Any) -> generation_pb2.GenerateResponse:
        """The whole answer at once. Options: see `request`."""
        return self.raw_generate(request(message, **options))

    def raw_generate(self, message: generation_pb2.GenerateRequest) -> generation_pb2.GenerateResponse:
        """The same for a request made by hand."""
        with _our_errors():
            return self._generation.Generate(message, timeout=self._timeout_s, metadata=self._metadata)

    def route(self, message: Message, **options: Any) -> generation_pb2.RouteResponse:
        """Which variant would answer, and why. Options: see `request`."""
        with _our_errors():
            wrapped = generation_pb2.RouteRequest(request=request(message, **options))
            return self._generation.Route(wrapped, timeout=self._timeout_s)

    def count_tokens(self, message: Message, **options: Any) -> generation_pb2.CountTokensResponse:
        """The tokens of a prompt. Options: see `request`."""
        with _our_errors():
            wrapped = generation_pb2.CountTokensRequest(request=request(message, **options))
            return self._generation.CountTokens(wrapped, timeout=self._timeout_s)

    def models(self) -> list[model_pb2.Model]:
        """The variants, smallest first."""
        with _our_errors():
            return list(self._models.ListModels(model_pb2.ListModelsRequest(), timeout=self._timeout_s).models)

    def drain(self) -> int:
        """Takes the gateway out of service, for good. Returns, once its calls have ended, how many were cut off."""
        with _our_errors():
            return int(self._admin.Drain(admin_pb2.DrainRequest(), timeout=self._timeout_s).running_requests)

    def create_session(self, session_id: str = "", *, system: str | None = None) -> session_pb2.Session:
        """Makes a session; without an id, the server picks one."""
        message = session_pb2.CreateSessionRequest(session_id=session_id)
        if system is not None:
            message.system_instruction.CopyFrom(text_content(system, content_pb2.ROLE_SYSTEM))
        with _our_errors():
            return self._sessions.CreateSession(message, timeout=self._timeout_s).session

    def get_session(self, session_id: str, *, include_contents: bool = True) -> session_pb2.GetSessionResponse:
        """A session, and its contents unless they are not wanted."""
        message = session_pb2.GetSessionRequest(session_id=session_id, include_contents=include_contents)
        with _our_errors():
            return self._sessions.GetSession(message, timeout=self._timeout_s)

    def ensure_session(self, session_id: str, *, system: str | None = None) -> session_pb2.Session:
        """The session of that id, made now, with those instructions, if there is none."""
        try:
            return self.create_session(session_id, system=system)
        except AlreadyExists:
            return self.get_session(session_id, include_contents=False).session

    def delete_session(self, session_id: str) -> None:
        """Forgets a session."""
        with _our_errors():
            message = session_pb2.DeleteSessionRequest(session_id=session_id)
            self._sessions.DeleteSession(message, timeout=self._timeout_s)


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


def _retry_options(retries: int) -> list[tuple[str, int | str]]:
    """gRPC's own retries. A gateway that leaves ends calls that cross its GOAWAY with CANCELLED, or UNAVAILABLE."""
    policy = {
        "maxAttempts": retries + 1,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
    return [("grpc.service_config", json.dumps(config)), ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER_BYTES)]


@contextmanager
def _refused_as_invalid() -> Iterator[None]:
    """Protobuf refuses unknown names, numbers out of range and text that is no UTF-8 with ValueErrors."""
    try:
        yield
    except ValueError as error:
        raise InvalidRequest.of("request", str(error)) from error


def _chosen(field: str, name: str, choices: Mapping[str, T]) -> T:
    if name not in choices:
        raise InvalidRequest.of(field, f"must be {', '.join(choices)}, not {name!r}")
    return choices[name]


def _contents(message: Message, media: Sequence[str | Path]) -> list[content_pb2.Content]:
    if isinstance(message, str):
        parts = [*map(media_part, media), content_pb2.Part(text=message)]
        return [content_pb2.Content(role=content_pb2.ROLE_USER, parts=parts)]
    if isinstance(message, content_pb2.Content):
        return [message]
    return list(message)


@contextmanager
def _our_errors() -> Iterator[None]:
    """Turns the server's statuses back into the errors that made them."""
    try:
        yield
    except grpc.RpcError as error:
        status = rpc_status.from_call(cast(grpc.Call, error))
        ours = error_from_status(status) if status is not None else None
        if ours is None:
            raise
        raise ours from error
