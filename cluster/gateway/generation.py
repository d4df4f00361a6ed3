"""GenerationService: parse, load the session, route, stream from a replica, store the turn, then say it is done."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial

from cluster.admission import Admission, Place
from cluster.answers.log import AnswerLog
from cluster.answers.record import AnswerKey
from cluster.codec import Codec
from cluster.errors import InvalidRequest
from cluster.gateway import messages
from cluster.gateway.cold_start import bounded_start
from cluster.gateway.handlers import Context
from cluster.gateway.kept_answers import KeptAnswers
from cluster.gateway.queue_progress import queue_message, with_progress
from cluster.gateway.request_record import current_record
from cluster.gateway.turns import Turns, history
from cluster.replicas import Replicas
from cluster.request import ParsedRequest
from cluster.router import Routed, Router
from cluster.sessions.store import SessionRecord, SessionStore
from cluster.tracing import span
from cluster.variants.parts import joined_parts
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk
from protos.gemmacluster.v1.content_pb2 import ROLE_MODEL, Content
from protos.gemmacluster.v1.generation_pb2 import (
    CountTokensRequest,
    CountTokensResponse,
    GenerateRequest,
    GenerateResponse,
    ResumeGenerateRequest,
    ResumeGenerateResponse,
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
        answers: KeptAnswers,
    ) -> None:
        self._turns = Turns(codec, sessions)
        self._answers = answers
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
        pieces = self._answer(request.request, max_tokens_per_message=limit)
        if request.queue_status:
            pieces = with_progress(pieces, partial(queue_message, self._admission, current_record()))
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def ResumeGenerate(
        self, request: ResumeGenerateRequest, context: Context
    ) -> AsyncGenerator[ResumeGenerateResponse, None]:
        """The rest of an answer."""
        key, index = self._key(request.request_id), _index_behind(request)
        async with aclosing(self._answers.resume(key, index, self._chunks)) as pieces:
            async for piece in pieces:
                yield ResumeGenerateResponse(chunk=StreamGenerateResponse.FromString(piece))

    async def CountTokens(self, request: CountTokensRequest, context: Context) -> CountTokensResponse:
        """Counts on the variant asked for, else the session's, else the smallest."""
        parsed, session = await self._turns.load(request.request)
        prompts = await self._router.prompts(parsed, history(session))
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
        routed = await self._route(*await self._turns.load(request.request))
        return RouteResponse(
            routing=messages.routing_info(routed.decision),
            prompt_tokens_by_modality=messages.modality_tokens(routed.prompt.tokens_by_modality),
            max_output_tokens=routed.decision.max_output_tokens,
        )

    async def _answer(self, request: GenerateRequest, *, max_tokens_per_message: int) -> AsyncGenerator[bytes, None]:
        """The answer's messages; with a request_id, of the one answer that this request gets however often it comes."""
        if request.request_id:
            key = self._key(request.request_id)
            pieces = self._answers.answer(key, request, max_tokens_per_message, self._chunks)
        else:
            pieces = _messages(self._chunks(request, max_tokens_per_message))
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    def _key(self, request_id: str) -> AnswerKey:
        record = current_record()
        key = AnswerKey.of(self._admission.owner(record.call), request_id)
        record.request_id = key.request_id
        return key

    async def _chunks(
        self, request: GenerateRequest, max_tokens_per_message: int, log: AnswerLog | None = None
    ) -> AsyncGenerator[ReplicaChunk, None]:
        """The path of a request, or of what `log` lacks. The last chunk leaves only after the turn is stored."""
        if log is not None and log.begun is not None and log.begun.settled is not None:
            yield await self._turns.store_settled(request, log.begun.variant, log.begun.settled)
            return
        arrived = time.monotonic()
        parsed, session = await self._turns.begin(request)
        routed = await self._route(parsed, session)
        current_record().routed(routed.decision, routed.prompt.tokens_by_modality)
        if log is not None:
            log.plan(routed.decision.variant, session.etag if session else "")
        begun = log.begun.chunks if log is not None and log.begun is not None else ()
        is_first = not begun
        admitted = self._admitted(routed, max_tokens_per_message, begun)
        async with aclosing(bounded_start(admitted, self._admission.gates[routed.decision.variant])) as chunks:
            async for chunk in chunks:
                if is_first:
                    chunk.responses[0] = _header(routed, chunk, arrived) + chunk.responses[0]
                    is_first = False
                if chunk.HasField("result"):
                    await self._finish(routed, session, chunk, log)
                yield chunk

    async def _admitted(
        self, routed: Routed, max_tokens_per_message: int, begun: Sequence[ReplicaChunk]
    ) -> AsyncGenerator[ReplicaChunk, None]:
        """The replicas' chunks, once it is the request's turn. Closing it gives the slot back."""
        replicas = self._replicas[routed.decision.variant]
        with span("admit"):
            admitted = await self._admit(routed)
        with admitted as place:
            async with aclosing(replicas.generate(routed.replica_request(max_tokens_per_message), begun)) as chunks:
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
            on_ticket=current_record().queued,
        )

    async def _route(self, parsed: ParsedRequest, session: SessionRecord | None) -> Routed:
        with span("route"):
            return await self._router.route(parsed, history(session), session.variant_pin if session else None)

    async def _finish(
        self, routed: Routed, session: SessionRecord | None, last: ReplicaChunk, log: AnswerLog | None
    ) -> None:
        """Adds what the last message tells, and stores the turn."""
        current_record().result = last.result
        trailer = StreamGenerateResponse(
            finish_reason=last.result.finish_reason, usage=messages.usage(routed.prompt, last.result)
        )
        last.responses[-1] += trailer.SerializeToString()
        if session is None:
            return
        if log is not None:
            await log.settle(last)
        await self._turns.store(routed.request, session.etag, routed.decision.variant, last, session)


async def _messages(chunks: AsyncGenerator[ReplicaChunk, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            for response in chunk.responses:
                yield response


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


def _max_tokens_per_message(request: StreamGenerateRequest) -> int:
    if not request.HasField("max_tokens_per_message"):
        return 0
    if request.max_tokens_per_message < 1:
        raise InvalidRequest.of("max_tokens_per_message", "must be at least 1")
    return int(request.max_tokens_per_message)


def _index_behind(request: ResumeGenerateRequest) -> int:
    """The first message that the caller has not got."""
    if not request.HasField("after_chunk_index"):
        return 0
    if request.after_chunk_index < 0:
        raise InvalidRequest.of("after_chunk_index", "must be at least 0; leave it unset when no message arrived")
    return int(request.after_chunk_index) + 1
