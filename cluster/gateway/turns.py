"""A request as a turn of its session: what was said before, and the turn stored at its end."""

from __future__ import annotations

from dataclasses import replace

from cluster.codec import Codec, check_results
from cluster.errors import SessionConflict
from cluster.gateway import messages
from cluster.gateway.request_record import current_record
from cluster.request import ParsedRequest
from cluster.sessions.store import SessionRecord, SessionStore
from cluster.tracing import span
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk
from protos.gemmacluster.v1.content_pb2 import Content
from protos.gemmacluster.v1.generation_pb2 import GenerateRequest, StreamGenerateResponse


class Turns:
    """A request without a session is one too, with nothing to load or store."""

    def __init__(self, codec: Codec, sessions: SessionStore) -> None:
        self._codec = codec
        self._sessions = sessions

    async def load(self, request: GenerateRequest) -> tuple[ParsedRequest, SessionRecord | None]:
        """The request checked, and its session.

        Raises SessionConflict when the caller's etag is old, InvalidRequest when a function's result answers no call.
        """
        return await self._load(request, touch=False)

    async def begin(self, request: GenerateRequest) -> tuple[ParsedRequest, SessionRecord | None]:
        """The same for a turn that is made now: the session's life starts anew.

        Raises InvalidRequest also when the session has no room for it.
        """
        parsed, session = await self._load(request, touch=True)
        if session is not None:
            self._sessions.ensure_room(session, parsed.contents)
        return parsed, session

    async def store(
        self, request: ParsedRequest, etag: str, variant: str, last: ReplicaChunk, before: SessionRecord | None = None
    ) -> None:
        """Appends the turn, and says so in the last message. Done twice, it is the same turn. `before` is the session
        as it was loaded."""
        assert request.session_id is not None
        with span("store turn"):
            record = await self._sessions.append_turn(
                request.session_id,
                etag=etag,
                contents=[*request.contents, last.result.content],
                variant=variant,
                request_id=request.request_id,
                before=before,
            )
        last.responses[-1] += StreamGenerateResponse(session=messages.session_state(record)).SerializeToString()

    async def store_settled(self, request: GenerateRequest, variant: str, settled: ReplicaChunk) -> ReplicaChunk:
        """The last chunk of an answer whose gateway was lost before, or after, it stored the turn."""
        parsed = await self._codec.parse(request)
        await self.store(parsed, request.session_etag, variant, settled)
        return settled

    async def _load(self, request: GenerateRequest, *, touch: bool) -> tuple[ParsedRequest, SessionRecord | None]:
        parsed = await self._codec.parse(request)
        current_record().request_id = parsed.request_id
        if parsed.session_id is None:
            return parsed, None
        with span("load session"):
            session = await self._sessions.get(parsed.session_id, with_contents=True, touch=touch)
        if parsed.session_etag not in (None, session.etag):
            raise SessionConflict(
                f"the session is at etag {session.etag}, not {parsed.session_etag}",
                resource_type="Session",
                resource_name=parsed.session_id,
            )
        check_results(parsed.contents, history(session))
        return replace(parsed, system_instruction=session.system_instruction), session


def history(session: SessionRecord | None) -> tuple[Content, ...]:
    """What was said before."""
    return (session.contents or ()) if session else ()
