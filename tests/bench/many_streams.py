"""Holds many streams open, idle ones that get nothing and active ones that do, until its standard input closes.

    python -m tests.bench.many_streams ADDRESS IDLE ACTIVE

Prints a line once all active ones have their first message. Streams share connections, a hundred on each.
"""

from __future__ import annotations

import asyncio
import sys

import grpc

from protos.gemmacluster.v1 import generation_pb2
from protos.gemmacluster.v1.content_pb2 import Content, Part
from tests.bench.stream_load import METHOD

STREAMS_A_CONNECTION = 100
_ALONE = [("grpc.use_local_subchannel_pool", 1)]


async def hold(address: str, num_idle: int, num_active: int) -> None:
    """Idle ones first."""
    count = -(-(num_idle + num_active) // STREAMS_A_CONNECTION)
    channels = [grpc.aio.insecure_channel(address, options=_ALONE) for _ in range(count)]
    begun = [asyncio.Event() for _ in range(num_active)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_read(channels[number % count], "idle", number)) for number in range(num_idle)]
        tasks += [
            group.create_task(_read(channels[number % count], "active", number, event))
            for number, event in enumerate(begun)
        ]
        await asyncio.gather(*(event.wait() for event in begun))
        print("all have begun", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
    for channel in channels:
        await channel.close()


async def _read(channel: grpc.aio.Channel, model: str, number: int, begun: asyncio.Event | None = None) -> None:
    """Asks again when the answer has ended."""
    text = f"{number} " + " ".join(str(item) for item in range(200))
    contents = [Content(parts=[Part(text=text)])]
    config = generation_pb2.GenerationConfig(max_output_tokens=200)
    request = generation_pb2.GenerateRequest(model=model, contents=contents, generation_config=config)
    payload = generation_pb2.StreamGenerateRequest(request=request).SerializeToString()
    while True:
        try:
            async for _ in channel.unary_stream(METHOD)(payload):
                if begun is not None:
                    begun.set()
        except grpc.aio.AioRpcError as error:
            print(model, number, error.code(), error.details(), error.debug_error_string(), file=sys.stderr, flush=True)
            raise


if __name__ == "__main__":
    asyncio.run(hold(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
