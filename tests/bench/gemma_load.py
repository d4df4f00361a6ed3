"""One load for both: concurrent streams at our gateway, or at an OpenAI server, timed alike, in a process of its own.

    python -m tests.bench.gemma_load ours|openai ADDRESS MODEL STREAMS TOKENS ROUNDS

Prompts are new in every round; nothing ends an answer early. Prints tokens per second and the median time to the first
token, in milliseconds, of the median round, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator

import grpc
import httpx

from protos.gemmacluster.v1 import generation_pb2
from protos.gemmacluster.v1.content_pb2 import Content, Part

METHOD = "/gemmacluster.v1.GenerationService/StreamGenerate"
# The tiny tokenizer's ends: without them both sides answer with as many tokens as are asked for.
NEVER = {1: -100.0, 50: -100.0, 106: -100.0}


async def ours(channel: grpc.aio.Channel, model: str, text: str, tokens: int) -> AsyncIterator[object]:
    """A message for each write of the gateway; left unparsed."""
    config = generation_pb2.GenerationConfig(max_output_tokens=tokens, temperature=0.0, logit_bias=NEVER)
    contents = [Content(parts=[Part(text=text)])]
    request = generation_pb2.GenerateRequest(model=model, contents=contents, generation_config=config)
    payload = generation_pb2.StreamGenerateRequest(request=request).SerializeToString()
    last = b""
    async for last in channel.unary_stream(METHOD)(payload):
        yield last
    used = generation_pb2.StreamGenerateResponse.FromString(last).usage.output_tokens
    assert used == tokens, f"{used} tokens instead of {tokens}"


async def openai(client: httpx.AsyncClient, model: str, text: str, tokens: int) -> AsyncIterator[object]:
    """A line for each event with content; left unparsed."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "logit_bias": {str(token): bias for token, bias in NEVER.items()},
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    last = ""
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith('data: {"id"'):
                last = line
                # The first event names the role, before any token.
                if '"role":"assistant"' not in line:
                    yield line
    used = json.loads(last.removeprefix("data: "))["usage"]["completion_tokens"]
    assert used == tokens, f"{used} tokens instead of {tokens}"


async def one_stream(side: str, connection: object, model: str, text: str, tokens: int) -> float:
    """Seconds to the first token."""
    started, first = time.perf_counter(), 0.0
    stream = {"ours": ours, "openai": openai}[side]
    async for _ in stream(connection, model, text, tokens):  # type: ignore[arg-type]
        first = first or time.perf_counter() - started
    return first


async def one_round(side: str, connection: object, model: str, number: int, streams: int, tokens: int) -> list[float]:
    """Tokens per second, and the median time to the first token in ms."""
    texts = [f"{number} {index} is what a caller asks about, in some twenty tokens." for index in range(streams)]
    started = time.perf_counter()
    firsts = await asyncio.gather(*(one_stream(side, connection, model, text, tokens) for text in texts))
    return [streams * tokens / (time.perf_counter() - started), statistics.median(firsts) * 1000]


async def measure(side: str, address: str, model: str, streams: int, tokens: int, rounds: int) -> dict[str, float]:
    """After one round to warm up."""
    async with (
        grpc.aio.insecure_channel(address) as channel,
        httpx.AsyncClient(base_url=f"http://{address}", timeout=120) as client,
    ):
        connection = channel if side == "ours" else client
        # The clock makes each run's prompts new, so that no prefix cache has them.
        first = time.time_ns() // 1000
        found = [await one_round(side, connection, model, first + n, streams, tokens) for n in range(rounds + 1)]
    rates, firsts = zip(*found[1:], strict=True)
    return {"tokens_per_s": statistics.median(rates), "ttft_ms": statistics.median(firsts)}


if __name__ == "__main__":
    side, address, model, *numbers = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(side, address, model, *map(int, numbers)))))
