"""SessionService over the session store."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from cluster.codec import parse_system_instruction
from cluster.errors import InvalidRequest
from cluster.gateway import messages
from cluster.gateway.handlers import Context
from cluster.sessions.store import SessionStore
from protos.gemmacluster.v1.session_pb2 import (
    CreateSessionRequest,
    CreateSessionResponse,
    DeleteSessionRequest,
    GetSessionRequest,
    GetSessionResponse,
    ListSessionsRequest,
    ListSessionsResponse,
)

_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1000


class SessionServicer:
    """Answers SessionService. Method names are those of the proto."""

    def __init__(self, sessions: SessionStore, variant_names: frozenset[str]) -> None:
        self._sessions = sessions
        self._variant_names = variant_names

    async def CreateSession(self, request: CreateSessionRequest, context: Context) -> CreateSessionResponse:
        """Makes an empty session."""
        if request.variant_pin and request.variant_pin not in self._variant_names:
            names = ", ".join(sorted(self._variant_names))
            raise InvalidRequest.of("variant_pin", f"no variant {request.variant_pin!r}; there are {names}")
        record = await self._sessions.create(
            request.session_id or None,
            request.ttl.ToNanoseconds() / 1e9 if request.HasField("ttl") else None,
            parse_system_instruction(request.system_instruction) if request.HasField("system_instruction") else None,
            request.variant_pin or None,
        )
        return CreateSessionResponse(session=messages.session(record))

    async def GetSession(self, request: GetSessionRequest, context: Context) -> GetSessionResponse:
        """Reads a session."""
        record = await self._sessions.get(request.session_id, with_contents=request.include_contents)
        return GetSessionResponse(session=messages.session(record), contents=record.contents or ())

    async def ListSessions(self, request: ListSessionsRequest, context: Context) -> ListSessionsResponse:
        """A page of sessions, newest first."""
        if not 0 <= request.page_size <= _MAX_PAGE_SIZE:
            raise InvalidRequest.of("page_size", f"must be 1 to {_MAX_PAGE_SIZE}, or 0 for {_DEFAULT_PAGE_SIZE}")
        page_size = request.page_size or _DEFAULT_PAGE_SIZE
        records, next_token = await self._sessions.list(page_size, request.page_token)
        return ListSessionsResponse(sessions=map(messages.session, records), next_page_token=next_token)

    async def DeleteSession(self, request: DeleteSessionRequest, context: Context) -> Empty:
        """Forgets a session."""
        await self._sessions.delete(request.session_id, request.etag or None)
        return Empty()
