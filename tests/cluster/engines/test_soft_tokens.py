"""Soft tokens are encoded once for each content and resolution, and never mixed up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cluster.engines import soft_tokens
from cluster.engines.base import EngineMedium, EngineRequest
from cluster.engines.soft_tokens import SoftTokenSource
from cluster.errors import InvalidRequest
from model.encoders import Encoders
from model.media_encoder import MediaEncoder
from model.multimodal import load_multimodal
from model.runtime.prompt_media import PromptMedia
from model.runtime.sampling import SamplingParams
from model.soft_tokens import SoftTokenRules, image_soft_tokens
from model.vision.patches import Patches
from tests.cluster.media_samples import image
from tests.model.preprocess.test_video import movie

DATA = image("PNG", 640, 480)


@pytest.fixture
def source(checkpoint: Path) -> Iterator[SoftTokenSource]:
    """Over the tiny E2B."""
    source = SoftTokenSource(load_multimodal(checkpoint), checkpoint, num_threads=1)
    yield source
    source.close()


async def _placed(source: SoftTokenSource, checkpoint: Path, *media: EngineMedium) -> PromptMedia:
    """A prompt of nothing but images."""
    rules = SoftTokenRules.from_checkpoint(checkpoint)
    count = sum(image_soft_tokens(640, 480, rules.at(medium.max_soft_tokens)) for medium in media)
    config = load_multimodal(checkpoint).config
    assert config.image_token_id is not None
    prompt = [config.image_token_id] * count
    placed = await source.prompt_media(EngineRequest("r", prompt, SamplingParams(max_tokens=1), media))
    assert placed is not None
    return placed


async def _soft_tokens(source: SoftTokenSource, checkpoint: Path, *media: EngineMedium) -> Tensor:
    """The soft tokens of such a prompt, [N, D]."""
    return (await _placed(source, checkpoint, *media)).soft.values_ND


async def test_the_same_bytes_at_two_resolutions_are_two_media(source: SoftTokenSource, checkpoint: Path) -> None:
    encoder = MediaEncoder(load_multimodal(checkpoint).encoders, SoftTokenRules.from_checkpoint(checkpoint))
    sizes = (70, 560, None, 70)
    expected = [encoder.encode(DATA, "image/png", most) for most in sizes]
    media = [EngineMedium("image/png", DATA, most) for most in sizes]
    assert torch.equal(await _soft_tokens(source, checkpoint, *media), torch.cat(expected))
    assert torch.equal(await _soft_tokens(source, checkpoint, *media[::-1]), torch.cat(expected[::-1]))


async def test_the_prefix_cache_tells_resolutions_apart(source: SoftTokenSource, checkpoint: Path) -> None:
    """At 560 and at 1120 soft tokens, and at the checkpoint's own bound, an image has a name of its own."""
    prompts = [await _placed(source, checkpoint, EngineMedium("image/png", DATA, most)) for most in (560, 1120, None)]
    assert len({span.name for placed in prompts for span in placed.spans}) == 3


async def test_a_medium_is_encoded_once(
    source: SoftTokenSource, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int | None] = []
    parts = MediaEncoder.parts

    def counted(self: MediaEncoder, data: bytes, mime_type: str, most: int | None = None) -> Iterator[Tensor]:
        encoded.append(most)
        return parts(self, data, mime_type, most)

    monkeypatch.setattr(MediaEncoder, "parts", counted)
    for most in (70, 140, 70, None, 140, None):
        await _soft_tokens(source, checkpoint, EngineMedium("image/png", DATA, most))
    assert encoded == [70, 140, None]


VIDEO = EngineMedium("video/mp4", movie("video/mp4", 64), 560)


async def test_an_image_need_not_wait_for_a_whole_video(source: SoftTokenSource, checkpoint: Path) -> None:
    video = asyncio.create_task(source.prompt_media(EngineRequest("v", [1], SamplingParams(max_tokens=1), (VIDEO,))))
    await asyncio.sleep(0)
    await _soft_tokens(source, checkpoint, EngineMedium("image/png", DATA, 70))
    assert not video.done()
    with pytest.raises(InvalidRequest):  # this prompt has no place for it
        await video


async def test_a_video_that_nobody_waits_for_is_not_encoded_to_its_end(
    source: SoftTokenSource, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    encode = Encoders.encode_vision

    def counted(self: Encoders, patches: Patches) -> Tensor:
        begun.append(len(begun))
        return encode(self, patches)

    monkeypatch.setattr(Encoders, "encode_vision", counted)
    video = asyncio.create_task(source.prompt_media(EngineRequest("v", [1], SamplingParams(max_tokens=1), (VIDEO,))))
    while not begun:
        await asyncio.sleep(0.001)
    video.cancel()
    await asyncio.gather(video, return_exceptions=True)
    await _soft_tokens(source, checkpoint, EngineMedium("image/png", DATA, 70))
    assert len(begun) < 16  # pairs of 32 frames


async def test_beyond_its_limit_the_longest_unused_is_forgotten(
    source: SoftTokenSource, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = EngineMedium("image/png", DATA, 70), EngineMedium("image/png", DATA, 1120)
    kept = (await _soft_tokens(source, checkpoint, small)).nbytes
    monkeypatch.setattr(soft_tokens, "_KEPT_BYTES", 2 * kept)
    await _soft_tokens(source, checkpoint, large)
    assert [tensor.nbytes > kept for tensor in source._kept.values()] == [True]


async def test_a_medium_that_decodes_to_another_size_is_an_invalid_request(
    source: SoftTokenSource, checkpoint: Path
) -> None:
    image_id = load_multimodal(checkpoint).config.image_token_id
    assert image_id is not None
    request = EngineRequest("r", [image_id] * 7, SamplingParams(max_tokens=1), (EngineMedium("image/png", DATA),))
    with pytest.raises(InvalidRequest, match="another size than they declare: 266 soft tokens for 7"):
        await source.prompt_media(request)


async def test_a_broken_medium_is_an_invalid_request(source: SoftTokenSource) -> None:
    broken = EngineMedium("image/png", DATA[:100])
    with pytest.raises(InvalidRequest, match="image cannot be decoded"):
        await source.prompt_media(EngineRequest("r", [1], SamplingParams(max_tokens=1), (broken,)))
