"""Media as what vLLM's Gemma 4 takes behind its own processor: patches and mel frames, made as for our own engine.

So soft tokens are counted by one rule and lie where the prompt has them, at the resolution that each medium asks for.
A video is the images of its frames, which is what it is to the model.

Shapes: P patches of an image, C numbers in a patch, F mel frames, M mel bins.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from cluster.engines.base import EngineMedium, EngineRequest
from cluster.errors import InvalidRequest
from model.config import ModelConfig
from model.preprocess.errors import UnusableMedia
from model.preprocess.images import image_patches
from model.preprocess.mel import sound_mels
from model.preprocess.video import video_patches
from model.soft_tokens import SoftTokenRules, mel_soft_tokens
from model.vision.patches import Patches

_KEPT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Feature:
    """What one run of soft tokens is computed from. `kind` is image or audio; equal names are equal content."""

    name: str
    kind: str
    tensors: dict[str, Tensor]
    soft_tokens: int

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True)
class PlacedFeature:
    """A feature, and the prompt position of its first soft token."""

    feature: Feature
    offset: int


class FeatureSource:
    """Preprocesses in one thread; recent media are kept by content and resolution."""

    def __init__(self, checkpoint: Path) -> None:
        self._config = ModelConfig.from_checkpoint(checkpoint)
        self._rules = SoftTokenRules.from_checkpoint(checkpoint)
        self._kept: OrderedDict[str, list[Feature]] = OrderedDict()
        self._executor = ThreadPoolExecutor(1, "media-features")

    async def placed(self, request: EngineRequest) -> list[PlacedFeature]:
        """The features of a request's media in prompt order. Raises InvalidRequest if one is broken or does not fit."""
        features: list[tuple[str, Feature]] = []
        for medium in request.media:
            features += [(medium.modality, feature) for feature in await self._features(medium)]
        runs = list(soft_runs(request.prompt_token_ids, self._config))
        found = [(modality, feature.soft_tokens) for modality, feature in features]
        if found != [(run.modality, run.count) for run in runs]:
            raise InvalidRequest.of("contents", "media decode to another size than they declare")
        return [PlacedFeature(feature, run.offset) for (_, feature), run in zip(features, runs, strict=True)]

    async def _features(self, medium: EngineMedium) -> list[Feature]:
        key = _key(medium)
        if key not in self._kept:
            loop = asyncio.get_running_loop()
            try:
                self._keep(key, await loop.run_in_executor(self._executor, self._preprocess, medium, key))
            except UnusableMedia as error:
                raise InvalidRequest.of("contents", str(error)) from error
        self._kept.move_to_end(key)
        return self._kept[key]

    def _preprocess(self, medium: EngineMedium, key: str) -> list[Feature]:
        rules = self._rules.at(medium.max_soft_tokens)
        if medium.modality == "audio":
            return [_sound(key, sound_mels(medium.data, medium.mime_type, rules), rules)]
        if medium.modality == "image":
            return list(_images(key, [image_patches(medium.data, rules)], rules))
        return list(_images(key, video_patches(medium.data, medium.mime_type, rules), rules))

    def _keep(self, key: str, features: list[Feature]) -> None:
        """Forgets the longest unused beyond the limit, but never the newest."""
        self._kept[key] = features
        sizes = {name: sum(feature.num_bytes for feature in kept) for name, kept in self._kept.items()}
        while len(self._kept) > 1 and sum(sizes.values()) > _KEPT_BYTES:
            del sizes[self._kept.popitem(last=False)[0]]

    def close(self) -> None:
        """Ends the thread once what it preprocesses now is done."""
        self._executor.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class SoftRun:
    """`count` soft tokens of a modality from prompt position `offset` on."""

    modality: str
    offset: int
    count: int


def soft_runs(prompt: Sequence[int], config: ModelConfig) -> Iterator[SoftRun]:
    """The runs of soft tokens in a prompt, in order."""
    modality_of = {
        config.image_token_id: "image",
        config.audio_token_id: "audio",
        config.video_token_id: "video",
    }
    offset = 0
    for token_id, run in groupby(prompt):
        count = sum(1 for _ in run)
        if token_id in modality_of:
            yield SoftRun(modality_of[token_id], offset, count)
        offset += count


def _images(key: str, parts: Sequence[Patches] | Iterator[Patches], rules: SoftTokenRules) -> Iterator[Feature]:
    """Of each image in turn, or each frame."""
    number = 0
    for patches in parts:
        for values_PC in patches.values_BPC:
            tensors = {"pixel_values": values_PC.contiguous(), "pixel_position_ids": patches.positions_P2}
            count = len(values_PC) // rules.pooling_kernel_size**2
            yield Feature(f"{key} {number}", "image", tensors, count)
            number += 1


def _sound(key: str, mel_FM: Tensor, rules: SoftTokenRules) -> Feature:
    mask_F = torch.ones(len(mel_FM), dtype=torch.bool)
    tensors = {"input_features_padded": mel_FM.contiguous(), "input_features_mask": mask_F}
    return Feature(key, "audio", tensors, mel_soft_tokens(len(mel_FM), rules))


def _key(medium: EngineMedium) -> str:
    return f"{medium.mime_type} {medium.max_soft_tokens} {hashlib.sha256(medium.data).hexdigest()}"
