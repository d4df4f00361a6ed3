"""Calls of one gateway."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from types import TracebackType
from typing import Any, cast

import grpc
from grpc_status import rpc_status

from cluster.client.content import text_content
from cluster.client.piece import Piece
from cluster.client.request_builder import Message, request
from cluster.errors import AlreadyExists, error_from_status
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
