"""vLLM and our own engine over one checkpoint, both in float32, so that greedy answers can be compared."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.checkpoints import resolve_checkpoint
from cluster.client import text_content
from cluster.config import VariantConfig
from cluster.engines.base import Engine, EngineMedium, EngineOutput, EngineRequest
from cluster.engines.build import build_engine
from cluster.prompt import PromptBuilder
from model.answer import joined
from model.runtime.sampling import SamplingParams
from model.tokenizer import Tokenizer
from protos.gemmacluster.v1.content_pb2 import Blob, Content, Part
from tests.cluster.taught_answers import Exchange, write_taught_answers

CONTEXT_TOKENS = 4096
# One structure is spread over two of vLLM's processes.
_VLLM_RANKS = {"31b": 2}


def write_checkpoint(name: str, folder: Path) -> Path:
    """`e2b` is one with the structure of E2B that was taught some answers. The others are the tiny family's, whose
    images do not see themselves both ways: on a CPU vLLM cannot compute that."""
    if name == "e2b":
        return write_taught_answers(folder)
    shutil.copytree(resolve_checkpoint(f"tiny:{name}"), folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["text_config"].pop("use_bidirectional_attention") == "vision"
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@dataclass
class Pair:
    """Both engines, and what makes requests for them."""

    name: str
    checkpoint: Path
    vllm: Engine
    native: Engine

    @classmethod
    async def start(cls, name: str, folder: Path) -> Pair:
        """Both, over a checkpoint written into `folder`."""
        return await cls.over(name, write_checkpoint(name, folder))

    @classmethod
    async def over(cls, name: str, checkpoint: Path) -> Pair:
        """Both, over one that is there."""
        engines = {}
        for kind in ("vllm", "native"):
            ranks = _VLLM_RANKS.get(name, 1) if kind == "vllm" else 1
            options = {"num_threads": 1, "dtype": "float32", "max_batch_size": 4, "tensor_parallel": ranks}
            config = VariantConfig.model_validate({"engine": kind, **options})
            engines[kind] = build_engine(checkpoint, config, CONTEXT_TOKENS)
            await engines[kind].start()
        return cls(name, checkpoint, engines["vllm"], engines["native"])

    async def stop(self) -> None:
        """Both."""
        await self.vllm.stop()
        await self.native.stop()

    def ask(self, text: str = "The quick brown fox", **sampling: Any) -> EngineRequest:
        """Of plain text, greedy unless told otherwise."""
        tokens = Tokenizer.from_checkpoint(self.checkpoint).encode(text)
        return EngineRequest("r", tokens, SamplingParams(**{"max_tokens": 24, "temperature": 0.0, **sampling}))

    def show(self, *blobs: Blob, **sampling: Any) -> EngineRequest:
        """Of media between words."""
        media = [Part(inline_data=blob) for blob in blobs]
        return self.talk(Part(text="Look at "), *media, Part(text=" and tell."), **sampling)

    def talk(self, *parts: Part, **sampling: Any) -> EngineRequest:
        """One turn of a user."""
        return self._chat([Content(role=1, parts=parts)], **sampling)

    def exchange(self, exchange: Exchange, **sampling: Any) -> EngineRequest:
        """What the taught checkpoint knows the answer to."""
        return self._chat(exchange.contents, exchange.thinking, exchange.tools, **sampling)

    def thoughtful(self, text: str, **sampling: Any) -> EngineRequest:
        """One whose answer may begin with thoughts."""
        return self._chat([text_content(text)], thinking=True, **sampling)

    def _chat(self, contents: Any, thinking: bool = False, tools: Any = (), **sampling: Any) -> EngineRequest:
        prompt = PromptBuilder(self.checkpoint).build(contents, thinking=thinking, tools=tools)
        media = tuple(EngineMedium(item.mime_type, item.data, item.max_soft_tokens) for item in prompt.media)
        params = SamplingParams(**{"max_tokens": 24, "temperature": 0.0, **sampling})
        return EngineRequest("r", prompt.token_ids, params, media)

    async def answers(self, request: EngineRequest) -> list[dict[str, Any]]:
        """What either says, and how it says it ended."""
        return [summary(await collect(engine, request)) for engine in (self.vllm, self.native)]


async def collect(engine: Engine, request: EngineRequest) -> list[EngineOutput]:
    """All outputs."""
    return [output async for output in engine.generate(request)]


def summary(outputs: list[EngineOutput]) -> dict[str, Any]:
    """All of an answer that does not depend on how it was cut into outputs."""
    return {
        "pieces": list(joined([piece for output in outputs for piece in output.pieces])),
        "tokens": sum(output.token_count for output in outputs),
        "finish": outputs[-1].finish_reason,
        "thought_tokens": outputs[-1].thought_tokens,
        "logprob_ids": [
            (item.chosen.token_id, item.chosen.token, [top.token_id for top in item.top])
            for output in outputs
            for item in output.logprobs
        ],
    }
