"""A lean load generator: concurrent streams over one channel, bytes left unparsed, tokens counted at the end.

    python -m tests.bench.stream_load ADDRESS STREAMS TOKENS ROUNDS MAX_TOKENS_PER_MESSAGE APP

It runs in a process of its own, so that both sides of a ratio pay the same for their client. Prints tokens per second,
messages per second and the median time to the first message, as JSON.
"""

import asyncio
import json
import statistics
import sys
import time

import grpc

from protos.gemmacluster.v1 import generation_pb2
from protos.gemmacluster.v1.content_pb2 import Content, Part

METHOD = "/gemmacluster.v1.GenerationService/StreamGenerate"


def echo_request(tokens: int, max_tokens_per_message: int) -> bytes:
    """Asks the echo engine for `tokens` tokens of a prompt that has more."""
    config = generation_pb2.GenerationConfig(max_output_tokens=tokens)
    text = " ".join(str(number) for number in range(tokens))
    contents = [Content(parts=[Part(text=text)])]
    request = generation_pb2.GenerateRequest(model="e2b", contents=contents, generation_config=config)
    message = generation_pb2.StreamGenerateRequest(request=request)
    if max_tokens_per_message:
        message.max_tokens_per_message = max_tokens_per_message
    return bytes(message.SerializeToString())


async def one_stream(channel: grpc.aio.Channel, payload: bytes, app: str) -> tuple[int, int, float]:
    """Messages, output tokens, and seconds to the first message. Serve's proxy picks the app by metadata."""
    started, first, messages, last = time.perf_counter(), 0.0, 0, b""
    async for message in channel.unary_stream(METHOD)(payload, metadata=(("application", app),)):
        first = first or time.perf_counter() - started
        messages, last = messages + 1, message
    usage = generation_pb2.StreamGenerateResponse.FromString(last).usage
    return messages, usage.output_tokens, first


async def measure(address: str, app: str, streams: int, tokens: int, rounds: int, per_message: int) -> dict[str, float]:
    """Runs `rounds` times `streams` streams at once, after one round to warm up; takes the median round."""
    payload = echo_request(tokens, per_message)
    async with grpc.aio.insecure_channel(address) as channel:
        samples = [await one_round(channel, payload, streams, app) for _ in range(rounds + 1)][1:]
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


async def one_round(channel: grpc.aio.Channel, payload: bytes, streams: int, app: str) -> dict[str, float]:
    """All streams at once."""
    started = time.perf_counter()
    results = await asyncio.gather(*(one_stream(channel, payload, app) for _ in range(streams)))
    seconds = time.perf_counter() - started
    return {
        "tokens_per_s": sum(result[1] for result in results) / seconds,
        "messages_per_s": sum(result[0] for result in results) / seconds,
        "ttft_ms": statistics.median(result[2] for result in results) * 1000,
    }


if __name__ == "__main__":
    address, *numbers, app = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(address, app, *map(int, numbers)))))
