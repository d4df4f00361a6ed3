"""Text, images, sound and video together against transformers: the same inputs give the same logits."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.checkpoint import CheckpointError
from model.config import ModelConfig
from model.full_attention import FullAttention
from model.multimodal import GemmaModel, load_multimodal
from model.soft_rows import SoftTokens, image_blocks, place
from model.tiny import write_tiny
from model.variants import VARIANTS
from model.vision.patches import Patches
from model.weights import load_model
from tests.model.audio.test_audio_parity import sounds
from tests.model.conftest import VARIANT_NAMES
from tests.model.media_checkpoint import (
    AUDIO_ID,
    IMAGE_ID,
    VIDEO_ID,
    MakeMediaCheckpoint,
    make_media_checkpoint,
    reference,
    worst_row_error,
)
from tests.model.vision.test_vision_parity import patches

__all__ = ["make_media_checkpoint"]

TOLERANCE = 1e-4
HEARING = ("e2b", "e4b")
BEGIN, END = 280, 281


class Prompt:
    """A random prompt in the making: token ids and the media between them."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._seed = seed
        self.tokens: list[int] = []
        self.images: list[Patches] = []
        self.videos: list[Patches] = []
        self.mels: list[Tensor] = []

    def text(self, length: int) -> Prompt:
        self.tokens += torch.randint(1, 280, (length,), generator=self._generator).tolist()
        return self

    def image(self, columns: int, rows: int) -> Prompt:
        self.images.append(patches(self._seed + len(self.tokens), columns, rows))
        self.tokens += [BEGIN, *[IMAGE_ID] * (columns * rows // 9), END]
        return self

    def video(self, columns: int, rows: int, frames: int) -> Prompt:
        self.videos.append(patches(self._seed + len(self.tokens), columns, rows, frames))
        for _ in range(frames):
            self.text(2).tokens += [BEGIN, *[VIDEO_ID] * (columns * rows // 9), END]
        return self

    def audio(self, mel_frames: int) -> Prompt:
        self.mels += sounds(self._seed + len(self.tokens), [mel_frames])
        self.tokens += [BEGIN, *[AUDIO_ID] * -(-mel_frames // 4), END]
        return self


def ours(model: GemmaModel, prompts: list[Prompt]) -> Tensor:
    """Our logits of all prompts packed together, [T, V]."""
    tokens_T = torch.tensor([token for prompt in prompts for token in prompt.tokens])
    soft = {
        "image": [model.encoders.encode_vision(image) for prompt in prompts for image in prompt.images],
        "video": [model.encoders.encode_vision(video) for prompt in prompts for video in prompt.videos],
        "audio": [model.encoders.encode_audio(mel) for prompt in prompts for mel in prompt.mels],
    }
    placed = place(tokens_T, {name: parts for name, parts in soft.items() if parts}, model.config)
    blocks_T = image_blocks(tokens_T, model.config) if model.config.text.has_bidirectional_images else None
    lengths = [len(prompt.tokens) for prompt in prompts]
    positions_T = torch.cat([torch.arange(length) for length in lengths])
    logits: Tensor = model.text(tokens_T, positions_T, FullAttention(lengths, blocks_T), None, placed)
    return logits


def theirs(path: Path, prompt: Prompt) -> Tensor:
    """Transformers' logits of one prompt, [T, V]."""
    tokens = torch.tensor([prompt.tokens])
    inputs: dict[str, Any] = {"input_ids": tokens, "mm_token_type_ids": token_types(tokens)}
    model, encoded = reference(path), {}
    if prompt.images:
        encoded["image"] = model.model.get_image_features(*padded(prompt.images))
    if prompt.videos:
        # Called by itself: in transformers 5.19 the model's own call forgets the number of frames and raises.
        frames = torch.tensor([len(video.values_BPC) for video in prompt.videos])
        encoded["video"] = model.model.get_video_features(*padded(prompt.videos), num_frames_per_video=frames)
    if prompt.mels:
        longest = max(map(len, prompt.mels))
        mels = [torch.nn.functional.pad(mel, (0, 0, 0, longest - len(mel))) for mel in prompt.mels]
        inputs["input_features"] = torch.stack(mels)
        inputs["input_features_mask"] = torch.arange(longest) < torch.tensor([[len(mel)] for mel in prompt.mels])
    with torch.inference_mode():
        logits: Tensor = model(**inputs, mm_encoder_outputs=encoded).logits[0]
    return logits


def token_types(tokens: Tensor) -> Tensor:
    """0 text, 1 image, 2 video, 3 audio: what transformers' processor says of each token."""
    return (tokens == IMAGE_ID) * 1 + (tokens == VIDEO_ID) * 2 + (tokens == AUDIO_ID) * 3


def padded(media: list[Patches]) -> tuple[Tensor, Tensor]:
    """Pixels and positions of all images or frames as one batch, padded to the largest."""
    longest = max(medium.values_BPC.shape[1] for medium in media)
    pixels, positions = [], []
    for medium in media:
        missing = longest - medium.values_BPC.shape[1]
        place_P2 = torch.nn.functional.pad(medium.positions_P2, (0, 0, 0, missing), value=-1)
        for frame_PC in medium.values_BPC:
            pixels.append(torch.nn.functional.pad(frame_PC, (0, 0, 0, missing)))
            positions.append(place_P2)
    return torch.stack(pixels), torch.stack(positions)


def assert_agree(path: Path, prompts: list[Prompt]) -> None:
    with torch.inference_mode():
        actual = ours(load_multimodal(path), prompts)
    assert worst_row_error(actual, torch.cat([theirs(path, prompt) for prompt in prompts])) < TOLERANCE


@pytest.mark.parametrize("variant", VARIANT_NAMES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_prompts_with_images_and_video_give_the_logits_of_the_reference(
    make_media_checkpoint: MakeMediaCheckpoint, variant: str, seed: int
) -> None:
    # Some images are longer than the window (8 tokens), and two stand side by side.
    prompts = [
        Prompt(seed).text(5).image(12, 9).text(3),
        Prompt(seed + 1).image(3, 3).image(9, 6).text(12).image(3, 27).text(1),
        Prompt(seed + 2).text(2).video(9, 6, 3).text(4).image(6, 6),
        Prompt(seed + 3).text(9),
    ]
    assert_agree(make_media_checkpoint(variant, seed), prompts)


@pytest.mark.parametrize("variant", HEARING)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_prompts_with_sound_give_the_logits_of_the_reference(
    make_media_checkpoint: MakeMediaCheckpoint, variant: str, seed: int
) -> None:
    prompts = [
        Prompt(seed).text(3).audio(29).text(4),
        Prompt(seed + 1).audio(1).text(2).audio(120).text(5),
        Prompt(seed + 2).image(6, 9).text(3).audio(50).text(2),
        Prompt(seed + 3).audio(70).video(6, 3, 2).image(3, 3).text(3),
    ]
    assert_agree(make_media_checkpoint(variant, seed), prompts)


def test_thirty_seconds_of_sound_give_the_logits_of_the_reference(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    path = make_media_checkpoint("e2b", 0, max_position_embeddings=1024)
    assert_agree(path, [Prompt(0).text(3).audio(2999).text(3)])


def test_an_image_is_seen_whole_only_where_the_config_says_so(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    """The first of an image's tokens depends on its last one in 31B, and not in E2B."""
    for variant, is_seen in (("31b", True), ("e2b", False)):
        model = load_multimodal(make_media_checkpoint(variant, 0))
        prompt = Prompt(0).text(2).image(6, 6).text(2)
        values_ND = model.encoders.encode_vision(prompt.images[0])
        changed_ND = values_ND.clone()
        changed_ND[-1] += 1
        logits = [run(model, prompt.tokens, values_ND), run(model, prompt.tokens, changed_ND)]
        assert torch.allclose(logits[0][:3], logits[1][:3])
        assert torch.allclose(logits[0][3], logits[1][3]) is not is_seen


def run(model: GemmaModel, tokens: list[int], values_ND: Tensor) -> Tensor:
    tokens_T = torch.tensor(tokens)
    blocks_T = image_blocks(tokens_T, model.config) if model.config.text.has_bidirectional_images else None
    soft = SoftTokens((tokens_T == IMAGE_ID).nonzero()[:, 0], values_ND)
    logits: Tensor = model.text(
        tokens_T, torch.arange(len(tokens_T)), FullAttention([len(tokens_T)], blocks_T), None, soft
    )
    return logits


def test_blocks_number_images_and_frames_and_leave_sound_out() -> None:
    config = VARIANTS["31b"]
    image, video, audio = config.image_token_id, config.video_token_id, config.audio_token_id
    assert image is not None
    assert video is not None
    assert audio is not None
    tokens_T = torch.tensor([image, image, 5, image, 7, video, video, 7, audio, audio])
    assert image_blocks(tokens_T, config).tolist() == [0, 0, -1, 1, -1, 2, 2, -1, -1, -1]
    assert image_blocks(tokens_T[:0], config).tolist() == []


def test_soft_tokens_that_do_not_fit_their_placeholders_are_refused() -> None:
    config = VARIANTS["e2b"]
    assert config.image_token_id is not None
    tokens_T = torch.tensor([1, config.image_token_id, config.image_token_id, 2])
    with pytest.raises(ValueError, match="3 soft tokens for 2 image placeholders"):
        place(tokens_T, {"image": [torch.zeros(1, 4), torch.zeros(2, 4)]}, config)


def test_the_text_decoder_is_the_one_that_load_model_reads(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    path = make_media_checkpoint("e2b", 0)
    alone, within = load_model(path).state_dict(), load_multimodal(path).text.state_dict()
    assert alone.keys() == within.keys()
    assert all(torch.equal(alone[name], within[name]) for name in alone)


def test_a_model_without_an_encoder_refuses_its_media(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    model = load_multimodal(make_media_checkpoint("31b", 0))
    with pytest.raises(ValueError, match="no audio encoder"):
        model.encoders.encode_audio(torch.zeros(4, 128))


def test_missing_unknown_and_misshapen_encoder_weights_are_named(
    make_media_checkpoint: MakeMediaCheckpoint, tmp_path: Path
) -> None:
    source = make_media_checkpoint("e2b", 0)
    (tmp_path / "config.json").write_text((source / "config.json").read_text())
    tensors = load_file(source / "model.safetensors")
    del tensors["model.audio_tower.output_proj.bias"]
    tensors["model.vision_tower.std_bias"] = torch.zeros(32)
    tensors["model.embed_vision.embedding_projection.weight"] = torch.zeros(64, 31)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    load_model(tmp_path)  # the text decoder alone is whole
    with pytest.raises(CheckpointError) as caught:
        load_multimodal(tmp_path)
    message = str(caught.value)
    assert "1 missing weights: model.audio_tower.output_proj.bias" in message
    assert "1 unknown weights: model.vision_tower.std_bias" in message
    assert "embedding_projection.weight is [64, 31], expected [64, 32]" in message


@pytest.mark.parametrize("name", VARIANTS)
def test_every_published_variant_has_the_weights_that_the_reference_has(name: str) -> None:
    from transformers.models.gemma4.configuration_gemma4 import Gemma4Config
    from transformers.models.gemma4.modeling_gemma4 import Gemma4ForConditionalGeneration

    hf = json.loads(json.dumps(VARIANTS[name].to_hf()))
    with torch.device("meta"):
        model = GemmaModel(ModelConfig.from_hf(hf))
        expected = {
            key: tuple(value.shape)
            for key, value in Gemma4ForConditionalGeneration(Gemma4Config(**hf)).state_dict().items()
        }
    pieces = [piece for group in model.weight_map("model.language_model.").values() for piece in group]
    expected.pop("lm_head.weight")
    assert {piece.name: piece.shape for piece in pieces} == expected


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_tiny_checkpoints_have_encoders_that_load(variant: str, tmp_path: Path) -> None:
    write_tiny(variant, tmp_path / variant)
    model = load_multimodal(tmp_path / variant)
    assert model.encoders.encode_vision(patches(0, 6, 3)).shape == (2, model.config.text.hidden_size)


def test_progress_counts_every_byte_once(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    steps: list[tuple[int, int]] = []
    model = load_multimodal(make_media_checkpoint("e2b", 0), progress=lambda *step: steps.append(step))
    total = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert {whole for _, whole in steps} == {total}
    assert steps[-1][0] == total
    assert all(before <= after for (before, _), (after, _) in pairwise(steps))
