"""A request to a variant without replicas waits for the first one, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from cluster.admission.gate import Gate
from cluster.errors import Unavailable
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaChunk

Chunks = AsyncGenerator[ReplicaChunk, None]


async def bounded_start(chunks: Chunks, gate: Gate) -> Chunks:
    """The chunks. Raises Unavailable when the gate's variant is without replicas, and still is after
    its `replicas.start_timeout_s`.

    Closing this closes the chunks.
    """
    async with aclosing(chunks):
        if gate.is_cold:
            yield await _first(chunks, gate)
        async for chunk in chunks:
            yield chunk


async def _first(chunks: Chunks, gate: Gate) -> ReplicaChunk:
    """Once a replica is there, as long as it takes: then others are before this request, or it is computed."""
    first = asyncio.create_task(_next(chunks))
    try:
        await asyncio.wait([first], timeout=gate.start_timeout_s)
        if not first.done() and gate.is_cold:
            why = f"no replica of {gate.variant} has started within {gate.start_timeout_s:g} s; nothing was stored"
            raise Unavailable(why, retry_after_s=gate.retry_after_s())
        return await first
    finally:
        # Chunks can be closed only where nobody waits for the next.
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def _next(chunks: Chunks) -> ReplicaChunk:
    return await anext(chunks)
