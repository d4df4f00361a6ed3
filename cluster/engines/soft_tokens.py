"""The media of requests as soft tokens: encoded off the event loop, recent ones kept by content and resolution."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from cluster.engines.base import EngineMedium, EngineRequest
from cluster.errors import InvalidRequest
from model.media_encoder import MediaEncoder
from model.multimodal import GemmaModel
from model.preprocess.errors import UnusableMedia
from model.runtime.prompt_media import PromptMedia
from model.soft_tokens import SoftTokenRules

_KEPT_BYTES = 256 * 1024 * 1024


class SoftTokenSource:
    """Encodes in one thread, so that encoding takes one thread's share of the machine and no more."""

    def __init__(self, model: GemmaModel, checkpoint: Path, num_threads: int) -> None:
        self._config = model.config
        self._encoder = MediaEncoder(model.encoders, SoftTokenRules.from_checkpoint(checkpoint))
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._executor = ThreadPoolExecutor(1, "media-encoder", partial(torch.set_num_threads, num_threads))

    async def prompt_media(self, request: EngineRequest) -> PromptMedia | None:
        """What the request's media add to its prompt; None without media. Raises InvalidRequest if one is broken."""
        if not request.media:
            return None
        soft: dict[str, list[Tensor]] = {}
        names: dict[str, list[bytes]] = {}
        for medium in request.media:
            key = _key(medium)
            soft.setdefault(medium.modality, []).append(await self._soft_tokens(medium, key))
            names.setdefault(medium.modality, []).append(key.encode())
        try:
            return PromptMedia.of(request.prompt_token_ids, soft, self._config, names)
        except ValueError as error:  # only bytes that two decoders read in two ways come so far
            raise InvalidRequest.of("contents", f"media decode to another size than they declare: {error}") from error

    async def _soft_tokens(self, medium: EngineMedium, key: str) -> Tensor:
        if key not in self._kept:
            try:
                self._keep(key, await self._encode(medium))
            except UnusableMedia as error:
                raise InvalidRequest.of("contents", str(error)) from error
        self._kept.move_to_end(key)
        return self._kept[key]

    async def _encode(self, medium: EngineMedium) -> Tensor:
        """Part by part: media that come meanwhile have their turn, and nothing goes on once nobody waits for it."""
        loop = asyncio.get_running_loop()
        parts = self._encoder.parts(medium.data, medium.mime_type, medium.max_soft_tokens)
        done: list[Tensor] = []
        while (part := await loop.run_in_executor(self._executor, next, parts, None)) is not None:
            done.append(part)
        return torch.cat(done)

    def _keep(self, key: str, soft_ND: Tensor) -> None:
        """Forgets the longest unused beyond the limit, but never the newest."""
        self._kept[key] = soft_ND
        while len(self._kept) > 1 and sum(tensor.nbytes for tensor in self._kept.values()) > _KEPT_BYTES:
            self._kept.popitem(last=False)

    def close(self) -> None:
        """Ends the thread once what it encodes now is done."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _key(medium: EngineMedium) -> str:
    """Equal for media of equal soft tokens."""
    return f"{medium.mime_type} {medium.max_soft_tokens} {hashlib.sha256(medium.data).hexdigest()}"
