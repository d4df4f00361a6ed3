"""Tells a caller how its request stands until its answer begins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from cluster.admission import Admission
from cluster.gateway import messages
from cluster.gateway.request_record import RequestRecord
from protos.gemmacluster.v1.generation_pb2 import StreamGenerateResponse

_FIRST_S, _PERIOD_S = 0.3, 1.0


async def with_progress(
    answer: AsyncGenerator[bytes, None], status: Callable[[], bytes]
) -> AsyncGenerator[bytes, None]:
    """The answer, and before it what `status` gives every second; b"" is not sent. Closing this closes the answer."""
    async with aclosing(answer):
        async with aclosing(_until_first(answer, status)) as beginning:
            async for message in beginning:
                yield message
        async for message in answer:
            yield message


def queue_message(admission: Admission, record: RequestRecord) -> bytes:
    """A StreamGenerateResponse with the queue status of the record's request; b"" if it waits for nothing."""
    standing = admission.gates[record.variant].standing(record.ticket) if record.ticket else None
    if standing is None:
        return b""
    status = messages.queue_status(record.variant, standing, time.monotonic() - record.arrived)
    return bytes(StreamGenerateResponse(queue_status=status).SerializeToString())


async def _first(answer: AsyncGenerator[bytes, None]) -> bytes:
    """b"" if there is none: no answer has an empty message."""
    return await anext(answer, b"")


async def _until_first(answer: AsyncGenerator[bytes, None], status: Callable[[], bytes]) -> AsyncGenerator[bytes, None]:
    first, pause = asyncio.create_task(_first(answer)), _FIRST_S
    try:
        while not (await asyncio.wait([first], timeout=pause))[0]:
            pause = _PERIOD_S
            if message := status():
                yield message
        if message := first.result():
            yield message
    finally:
        # An answer can be closed only where nobody waits for its next message.
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
