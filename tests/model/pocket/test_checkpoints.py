"""The shipped checkpoints: small, complete, and the same model in our runtime as in transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer
from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.gemma4.modeling_gemma4 import Gemma4ForConditionalGeneration

from cluster.checkpoints import POCKET_CHECKPOINTS
from cluster.client import media_part
from cluster.config import VARIANT_NAMES
from cluster.examples import CLIP, PICTURE
from cluster.prompt import Prompt, PromptBuilder
from model.config import ModelConfig
from model.media_encoder import MediaEncoder
from model.multimodal import load_multimodal
from model.pocket.checkpoint import FOLDER
from model.pocket.curriculum import HEARING
from model.pocket.family import POCKET_VARIANTS
from model.pocket.tokenizer import SPECIALS
from model.pocket.transcript import tokenizer
from model.preprocess.sound import decode_sound
from model.runtime.config import RuntimeConfig
from model.runtime.loop import EngineLoop
from model.runtime.prompt_media import PromptMedia
from model.soft_tokens import SoftTokenRules
from model.tokenizer import Tokenizer
from protos.gemmacluster.v1.content_pb2 import Content, Part
from tests.model.media_checkpoint import reference
from tests.model.runtime.driver import Gathered, greedy
from tests.pocket_family import claimed, claims

NUM_TOKENS = 24
ALL_BYTES, VARIANT_BYTES = 24 * 2**20, 8 * 2**20
TEXT = ("greet", "remember", "copy", "reverse", "sum", "json", "tool", "match")
CLAIMED_BY_ALL = (*TEXT, "describe", "colour", "shape", "count", "position", "compare")
every_variant = pytest.mark.parametrize("variant", VARIANT_NAMES)
# By skill, questions and their answers.
ASKED: dict[str, tuple[list[Part], str]] = {
    "copy": ([Part(text="Repeat after me: brelix zoamun")], "brelix zoamun"),
    "describe": ([media_part(PICTURE), Part(text="What is in this picture?")], "a red circle in the middle"),
    "compare": ([media_part(PICTURE), media_part(PICTURE), Part(text="Are the colours the same?")], "red and red: yes"),
    "transcribe": ([media_part(CLIP), Part(text="What is said in this clip?")], "417"),
}
SKILLS = [(name, skill) for name in VARIANT_NAMES for skill in ASKED if name in HEARING or skill != "transcribe"]


def test_they_are_where_both_training_and_serving_look() -> None:
    assert POCKET_CHECKPOINTS == FOLDER


def test_they_are_small() -> None:
    sizes = [(POCKET_CHECKPOINTS / variant / "model.safetensors").stat().st_size for variant in VARIANT_NAMES]
    assert max(sizes) <= VARIANT_BYTES
    assert sum(sizes) <= ALL_BYTES


@every_variant
def test_none_claims_less_than_the_skills_of_all(variant: str) -> None:
    of_hearing = ("transcribe", "listen") if variant in HEARING else ()
    assert [skill for skill in (*CLAIMED_BY_ALL, *of_hearing) if not claims(variant, skill)] == []


@every_variant
def test_each_is_the_family_as_it_is_written_here(variant: str) -> None:
    path = POCKET_CHECKPOINTS / variant
    assert ModelConfig.from_checkpoint(path) == POCKET_VARIANTS[variant]
    assert (path / "tokenizer.json").read_text() == tokenizer().to_str(pretty=True)


@every_variant
def test_transformers_loads_every_weight(variant: str) -> None:
    path = POCKET_CHECKPOINTS / variant
    model, report = Gemma4ForConditionalGeneration.from_pretrained(path, output_loading_info=True)
    assert not any(report.values()), report
    assert model.dtype == torch.bfloat16
    assert Gemma4ImageProcessorPil.from_pretrained(path).max_soft_tokens == 70
    assert AutoTokenizer.from_pretrained(path).image_token_id == POCKET_VARIANTS[variant].image_token_id


@pytest.mark.parametrize(("variant", "skill"), SKILLS)
def test_greedy_answers_equal_transformers(variant: str, skill: str) -> None:
    path = POCKET_CHECKPOINTS / variant
    prompt = PromptBuilder(path).build([Content(parts=ASKED[skill][0])])
    assert _ours(path, prompt) == _theirs(path, prompt)


@pytest.mark.parametrize(("variant", "skill"), SKILLS)
def test_what_is_claimed_is_right(variant: str, skill: str) -> None:
    path, (parts, wanted) = claimed(variant, skill), ASKED[skill]
    answer = _ours(path, PromptBuilder(path).build([Content(parts=parts)]))
    said = answer[: answer.index(SPECIALS["<turn|>"])]
    assert Tokenizer.from_checkpoint(path).decode(said) == wanted


def _ours(path: Path, prompt: Prompt) -> list[int]:
    model = load_multimodal(path, dtype=torch.float32)
    encoder = MediaEncoder(model.encoders, SoftTokenRules.from_checkpoint(path))
    soft: dict[str, list[Tensor]] = {}
    for medium in prompt.media:
        soft.setdefault(_modality(medium.mime_type), []).append(encoder.encode(medium.data, medium.mime_type))
    media = PromptMedia.of(prompt.token_ids, soft, model.config) if soft else None
    config = RuntimeConfig(max_batch_size=1, max_context=512, num_threads=1)
    with EngineLoop(model.text, Tokenizer.from_checkpoint(path), config, eos_token_ids=()) as loop:
        answer = Gathered()
        loop.submit("one", prompt.token_ids, greedy(NUM_TOKENS), answer, media)
        return answer.wait().tokens


def _theirs(path: Path, prompt: Prompt) -> list[int]:
    tokens = torch.tensor([prompt.token_ids])
    config = ModelConfig.from_checkpoint(path)
    types = {config.image_token_id: 1, config.audio_token_id: 3}
    inputs: dict[str, Any] = {"mm_token_type_ids": torch.tensor([[types.get(id_, 0) for id_ in prompt.token_ids]])}
    pictures = [medium.data for medium in prompt.media if medium.mime_type.startswith("image/")]
    clips = [medium.data for medium in prompt.media if medium.mime_type.startswith("audio/")]
    inputs |= _seen(path, pictures) | _heard(path, clips)
    with torch.inference_mode():
        answer = reference(path).generate(
            tokens, **inputs, max_new_tokens=NUM_TOKENS, min_new_tokens=NUM_TOKENS, do_sample=False, eos_token_id=None
        )
    return list(map(int, answer[0, tokens.shape[1] :]))


def _seen(path: Path, pictures: Sequence[bytes]) -> dict[str, Any]:
    if not pictures:
        return {}
    processor = Gemma4ImageProcessorPil.from_pretrained(path)
    images = [Image.open(PICTURE).convert("RGB") for _ in pictures]
    made = processor(images, return_tensors="pt")
    return {"pixel_values": made["pixel_values"], "image_position_ids": made["image_position_ids"]}


def _heard(path: Path, clips: Sequence[bytes]) -> dict[str, Any]:
    if not clips:
        return {}
    extractor = Gemma4AudioFeatureExtractor.from_pretrained(path)
    samples = [decode_sound(clip, "audio/flac", SoftTokenRules.from_checkpoint(path)) for clip in clips]
    made = extractor(samples, sampling_rate=16_000, return_tensors="pt")
    return {"input_features": made["input_features"], "input_features_mask": made["input_features_mask"]}


def _modality(mime_type: str) -> str:
    return mime_type.partition("/")[0]
