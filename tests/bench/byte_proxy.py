"""A bare gRPC byte proxy before a bare source of messages: what Python's grpc.aio can do with nothing else to do.

    python -m tests.bench.byte_proxy source PORT
    python -m tests.bench.byte_proxy proxy PORT SOURCE

Each runs in a process of its own until its standard input closes. The source answers with messages of one token, made
in advance, as many as the request asks for; the proxy parses nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc

from protos.gemmacluster.v1.content_pb2 import Content, Part
from protos.gemmacluster.v1.generation_pb2 import StreamGenerateRequest, StreamGenerateResponse, Usage
from tests.bench.stream_load import METHOD

Handler = Callable[[bytes, Any], AsyncGenerator[bytes, None]]


async def source(payload: bytes, context: Any) -> AsyncGenerator[bytes, None]:
    """As many tokens as are asked for."""
    count = StreamGenerateRequest.FromString(payload).request.generation_config.max_output_tokens
    token = StreamGenerateResponse(content=Content(parts=[Part(text="1234")]), chunk_index=1000).SerializeToString()
    for _ in range(count - 1):
        yield token
    yield token + StreamGenerateResponse(usage=Usage(output_tokens=count)).SerializeToString()


def proxy(channel: grpc.aio.Channel) -> Handler:
    """Passes on what the source says, as it comes."""
    call = channel.unary_stream(METHOD)

    async def handle(payload: bytes, context: Any) -> AsyncGenerator[bytes, None]:
        async for message in call(payload):
            yield message

    return handle


async def serve(port: int, handler: Handler) -> None:
    """Until standard input closes."""
    service, method = METHOD.strip("/").split("/")
    handlers = {method: grpc.unary_stream_rpc_method_handler(handler)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


async def main(side: str, port: str, *address: str) -> None:
    """One side."""
    if side == "source":
        await serve(int(port), source)
        return
    async with grpc.aio.insecure_channel(address[0]) as channel:
        await serve(int(port), proxy(channel))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
