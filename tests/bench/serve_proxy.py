"""The baseline: the same echo behind Ray Serve's own gRPC proxy, as a Serve user would build it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from cluster.checkpoints import resolve_checkpoint
from cluster.engines.base import EngineRequest
from cluster.engines.echo import EchoEngine
from model.runtime.sampling import SamplingParams
from model.tokenizer import Tokenizer
from protos.gemmacluster.v1.content_pb2 import Content, Part
from protos.gemmacluster.v1.generation_pb2 import StreamGenerateRequest, StreamGenerateResponse, Usage


@serve.deployment(max_ongoing_requests=300)
class EchoReplica:
    """Runs the echo engine; one message a token."""

    def __init__(self, checkpoint: str) -> None:
        self._tokenizer = Tokenizer.from_checkpoint(resolve_checkpoint(checkpoint))
        self._engine = EchoEngine(self._tokenizer)

    async def StreamGenerate(self, request: StreamGenerateRequest) -> AsyncGenerator[StreamGenerateResponse, None]:
        """Neither routing nor sessions: less work than the gateway does."""
        token_ids = self._tokenizer.encode(request.request.contents[0].parts[0].text)
        sampling = SamplingParams(max_tokens=request.request.generation_config.max_output_tokens)
        count = 0
        async for output in self._engine.generate(EngineRequest("", token_ids, sampling)):
            count += 1
            content = Content(parts=[Part(text=output.text)])
            usage = Usage(output_tokens=count) if output.finish_reason else None
            yield StreamGenerateResponse(content=content, chunk_index=count - 1, usage=usage)


@serve.deployment(max_ongoing_requests=300)
class EchoIngress:
    """What a Serve user writes to put several models behind one gRPC service: proxy, ingress, replica by handle."""

    def __init__(self, replica: DeploymentHandle[Any]) -> None:
        self._replica = replica.options(stream=True)

    async def StreamGenerate(self, request: StreamGenerateRequest) -> AsyncGenerator[StreamGenerateResponse, None]:
        """Passes the replica's messages on."""
        async for response in self._replica.StreamGenerate.remote(request):
            yield response
