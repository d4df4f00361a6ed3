"""Sends short requests at random moments, at a steady rate, and measures the time to the first message of each.

    python -m tests.bench.first_token_load gateway ADDRESS RATE SECONDS
    python -m tests.bench.first_token_load replica ADDRESS RATE SECONDS

It runs in a process of its own, alike for both sides. RATE 0 sends from eight callers, each as fast as it is answered.
Prints the seconds to the first message, in order, and requests per second, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import random
import sys
import time
from collections.abc import Callable

import grpc
from ray.serve._private.common import RequestMetadata
from ray.serve._private.serialization import RPCSerializer
from ray.serve.generated.serve_pb2 import ASGIRequest

from cluster.checkpoints import resolve_checkpoint
from cluster.prompt import PromptBuilder
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaRequest, ReplicaSampling
from protos.gemmacluster.v1 import generation_pb2
from protos.gemmacluster.v1.content_pb2 import ROLE_USER, Content, Part
from tests.bench.stream_load import METHOD

TOKENS, CALLERS, WARM_UP_S = 16, 8, 1.0
TEXT = " ".join(str(number) for number in range(50))
REPLICA_METHOD = "/ray.serve.ASGIService/HandleRequestStreaming"


def gateway_request(number: int) -> bytes:
    """As a caller sends it."""
    contents = [Content(parts=[Part(text=f"{number} {TEXT}")])]
    config = generation_pb2.GenerationConfig(max_output_tokens=TOKENS)
    request = generation_pb2.GenerateRequest(model="e2b", contents=contents, generation_config=config)
    return bytes(generation_pb2.StreamGenerateRequest(request=request).SerializeToString())


def replica_requests() -> Callable[[int], bytes]:
    """As the gateway would send the same, its prompt tokenised already, with nothing to be decided."""
    contents = [Content(role=ROLE_USER, parts=[Part(text=TEXT)])]
    prompt = PromptBuilder(resolve_checkpoint("tiny:e2b")).build(contents, media={})
    sampling = ReplicaSampling(max_tokens=TOKENS, top_p=1, repetition_penalty=1)
    payload = ReplicaRequest(request_id="bench", prompt_token_ids=prompt.token_ids, sampling=sampling)
    serializer = RPCSerializer.get_cached_serializer()
    arguments = serializer.dumps_request([payload.SerializeToString()])
    keywords = serializer.dumps_request({})

    def make(number: int) -> bytes:
        metadata = RequestMetadata(str(number), str(number), call_method="generate", is_streaming=True)
        request = ASGIRequest(
            pickled_request_metadata=pickle.dumps(metadata), request_args=arguments, request_kwargs=keywords
        )
        return bytes(request.SerializeToString())

    return make


class Load:
    """Requests to one side, each made anew."""

    def __init__(self, channel: grpc.aio.Channel, method: str, make: Callable[[int], bytes]) -> None:
        self._call, self._make = channel.unary_stream(method), make
        self._count = 0
        self.first_s: list[float] = []

    async def one(self) -> None:
        """Reads the whole answer."""
        self._count += 1
        started, first = time.perf_counter(), 0.0
        async for _ in self._call(self._make(self._count)):
            first = first or time.perf_counter() - started
        self.first_s.append(first)

    async def steady(self, rate: float, seconds: float) -> None:
        """Intervals as of many callers who know nothing of each other; nobody waits for an answer to ask."""
        ends_at, asked, chance = time.perf_counter() + seconds, [], random.Random(0)
        next_at = time.perf_counter()
        while (now := time.perf_counter()) < ends_at:
            if now < next_at:
                await asyncio.sleep(next_at - now)
            next_at += chance.expovariate(rate)
            asked.append(asyncio.create_task(self.one()))
        await asyncio.gather(*asked)

    async def full(self, seconds: float) -> None:
        """As much as can be."""
        ends_at = time.perf_counter() + seconds

        async def caller() -> None:
            while time.perf_counter() < ends_at:
                await self.one()

        await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def measure(side: str, address: str, rate: float, seconds: float) -> dict[str, object]:
    """After a second to warm up."""
    method, make = (METHOD, gateway_request) if side == "gateway" else (REPLICA_METHOD, replica_requests())
    async with grpc.aio.insecure_channel(address) as channel:
        load = Load(channel, method, make)
        for length_s in (WARM_UP_S, seconds):
            load.first_s.clear()
            started = time.perf_counter()
            await (load.steady(rate, length_s) if rate else load.full(length_s))
        elapsed = time.perf_counter() - started
    return {"first_s": sorted(load.first_s), "per_s": len(load.first_s) / elapsed}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))))
