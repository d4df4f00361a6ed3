"""GenerationService: parse, load the session, route, stream from a replica, store the turn, then say it is done."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace

from cluster.admission import Admission, Place
from cluster.codec import Codec, check_results
from cluster.errors import InvalidRequest, SessionConflict
from cluster.gateway import messages
from cluster.gateway.handlers import Context
from cluster.gateway.request_record import current_record
from cluster.replicas import Replicas
from cluster.request import ParsedRequest
from cluster.router import Routed, Router
from cluster.sessions.store import SessionRecord, SessionStore
from cluster.variants.parts import joined_parts
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk, ReplicaResult
from protos.gemmacluster.v1.content_pb2 import ROLE_MODEL, Content
from protos.gemmacluster.v1.generation_pb2 import (
    CountTokensRequest,
    CountTokensResponse,
    GenerateRequest,
    GenerateResponse,
    RouteRequest,
    RouteResponse,
    StreamGenerateRequest,
    StreamGenerateResponse,
)


class GenerationServicer:
    """Answers GenerationService. Method names are those of the proto."""

    def __init__(
        self,
        codec: Codec,
        sessions: SessionStore,
        router: Router,
        admission: Admission,
        replicas: Mapping[str, Replicas],
    ) -> None:
        self._codec = codec
        self._sessions = sessions
        self._router = router
        self._admission = admission
        self._replicas = replicas

    async def Generate(self, request: GenerateRequest, context: Context) -> GenerateResponse:
        """The whole answer in one message."""
        async with aclosing(self._answer(request, max_tokens_per_message=0)) as pieces:
            # Serialised messages laid end to end parse as their merge (protobuf encoding, "last one wins").
            merged = StreamGenerateResponse.FromString(b"".join([piece async for piece in pieces]))
        return GenerateResponse(
            content=Content(role=ROLE_MODEL, parts=joined_parts(merged.content.parts)),
            finish_reason=merged.finish_reason,
            routing=merged.routing,
            usage=merged.usage,
            session=merged.session if merged.HasField("session") else None,
            request_id=merged.request_id,
            logprobs=merged.logprobs,
        )

    async def StreamGenerate(self, request: StreamGenerateRequest, context: Context) -> AsyncGenerator[bytes, None]:
        """The answer in pieces, each a serialised StreamGenerateResponse."""
        limit = _max_tokens_per_message(request)
        async with aclosing(self._answer(request.request, max_tokens_per_message=limit)) as pieces:
            async for piece in pieces:
                yield piece

    async def CountTokens(self, request: CountTokensRequest, context: Context) -> CountTokensResponse:
        """Counts on the variant asked for, else the session's, else the smallest."""
        parsed, session = await self._load(request.request)
        prompts = await self._router.prompts(parsed, _history(session))
        pin = session.variant_pin if session else None
        variant = parsed.model if parsed.model in prompts else pin if pin in prompts else next(iter(prompts))
        prompt = prompts[variant]
        return CountTokensResponse(
            total_tokens=len(prompt.token_ids),
            tokens_by_modality=messages.modality_tokens(prompt.tokens_by_modality),
            variant=variant,
        )

    async def Route(self, request: RouteRequest, context: Context) -> RouteResponse:
        """The choice that Generate would make now."""
        routed = await self._route(*await self._load(request.request))
        return RouteResponse(
            routing=messages.routing_info(routed.decision),
            prompt_tokens_by_modality=messages.modality_tokens(routed.prompt.tokens_by_modality),
            max_output_tokens=routed.decision.max_output_tokens,
        )

    async def _answer(self, request: GenerateRequest, *, max_tokens_per_message: int) -> AsyncGenerator[bytes, None]:
        """The path of a request. The last piece leaves only after the turn is stored."""
        arrived = time.monotonic()
        parsed, session = await self._load(request, touch=True)
        if session is not None:
            self._sessions.ensure_room(session, parsed.contents)
        routed = await self._route(parsed, session)
        current_record().routed(routed.decision, routed.prompt.tokens_by_modality)
        is_first = True
        async with aclosing(self._admitted(routed, max_tokens_per_message)) as chunks:
            async for chunk in chunks:
                header = _header(routed, chunk, arrived) if is_first else b""
                is_first, is_last = False, chunk.HasField("result")
                trailer = await self._finish(routed, session, chunk.result) if is_last else b""
                for piece in _framed(header, chunk.responses, trailer):
                    yield piece

    async def _admitted(self, routed: Routed, max_tokens_per_message: int) -> AsyncGenerator[ReplicaChunk, None]:
        """The replicas' chunks, once it is the request's turn. Closing it gives the slot back."""
        replicas = self._replicas[routed.decision.variant]
        with await self._admit(routed) as place:
            async with aclosing(replicas.generate(routed.replica_request(max_tokens_per_message))) as chunks:
                async for chunk in chunks:
                    place.count(len(chunk.token_ids))
                    yield chunk

    async def _admit(self, routed: Routed) -> Place:
        return await self._admission.admit(
            routed.decision.variant,
            current_record().call,
            routed.request.priority,
            prompt_tokens=len(routed.prompt.token_ids),
            max_output_tokens=routed.decision.max_output_tokens,
        )

    async def _load(
        self, request: GenerateRequest, *, touch: bool = False
    ) -> tuple[ParsedRequest, SessionRecord | None]:
        """The request checked, and its session.

        Raises SessionConflict when the caller's etag is old, InvalidRequest when a function's result answers no call.
        """
        parsed = await self._codec.parse(request)
        current_record().request_id = parsed.request_id
        if parsed.session_id is None:
            return parsed, None
        session = await self._sessions.get(parsed.session_id, with_contents=True, touch=touch)
        if parsed.session_etag not in (None, session.etag):
            raise SessionConflict(
                f"the session is at etag {session.etag}, not {parsed.session_etag}",
                resource_type="Session",
                resource_name=parsed.session_id,
            )
        check_results(parsed.contents, _history(session))
        return replace(parsed, system_instruction=session.system_instruction), session

    async def _route(self, parsed: ParsedRequest, session: SessionRecord | None) -> Routed:
        return await self._router.route(parsed, _history(session), session.variant_pin if session else None)

    async def _finish(self, routed: Routed, session: SessionRecord | None, result: ReplicaResult) -> bytes:
        """Stores the turn, and makes what the last message adds."""
        current_record().result = result
        trailer = StreamGenerateResponse(
            finish_reason=result.finish_reason, usage=messages.usage(routed.prompt, result)
        )
        if session is not None:
            contents = [*routed.request.contents, result.content]
            record = await self._sessions.append_turn(
                session.session_id,
                etag=session.etag,
                contents=contents,
                variant=routed.decision.variant,
                request_id=routed.request.request_id,
            )
            trailer.session.CopyFrom(messages.session_state(record))
        return bytes(trailer.SerializeToString())


def _header(routed: Routed, first: ReplicaChunk, arrived: float) -> bytes:
    """What the first message adds."""
    queue_ms = max(0.0, (time.monotonic() - arrived) * 1000 - first.elapsed_ms)
    current_record().begun(queue_ms, first.cached_tokens)
    header = StreamGenerateResponse(
        routing=messages.routing_info(routed.decision, queue_ms=queue_ms),
        request_id=routed.request.request_id,
    )
    header.routing.cached_tokens = first.cached_tokens
    return bytes(header.SerializeToString())


def _framed(header: bytes, responses: Iterable[bytes], trailer: bytes) -> Iterator[bytes]:
    """Adds header and trailer to the first and last of the replica's messages by laying their bytes end to end."""
    pieces = list(responses)
    pieces[0] = header + pieces[0]
    pieces[-1] += trailer
    return iter(pieces)


def _history(session: SessionRecord | None) -> tuple[Content, ...]:
    return (session.contents or ()) if session else ()


def _max_tokens_per_message(request: StreamGenerateRequest) -> int:
    if not request.HasField("max_tokens_per_message"):
        return 0
    if request.max_tokens_per_message < 1:
        raise InvalidRequest.of("max_tokens_per_message", "must be at least 1")
    return int(request.max_tokens_per_message)
