"""Our audio tower against transformers: the same mel frames give the same soft tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.multimodal import load_multimodal
from tests.model.media_checkpoint import MakeMediaCheckpoint, reference, worst_row_error

TOLERANCE = 1e-4
# Mel frames, 100 a second: shorter than a token, around the borders of a chunk (48 frames), the longest.
LENGTHS = [1, 2, 5, 47, 48, 49, 95, 97, 300]


def sounds(seed: int, lengths: list[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.empty(length, 128).uniform_(-7, 3, generator=generator) for length in lengths]


def theirs(path: Path, mels: list[Tensor], dtype: torch.dtype = torch.float32) -> Tensor:
    """Transformers' soft tokens of all sounds, encoded as one batch, padded to the longest."""
    longest = max(map(len, mels))
    padded = [torch.nn.functional.pad(mel, (0, 0, 0, longest - len(mel))) for mel in mels]
    mask = torch.arange(longest) < torch.tensor([[len(mel)] for mel in mels])
    with torch.inference_mode():
        features = reference(path, dtype).model.get_audio_features(torch.stack(padded), mask)
    kept: Tensor = features.pooler_output[features.attention_mask]
    return kept


def ours(path: Path, mels: list[Tensor], dtype: torch.dtype = torch.float32) -> Tensor:
    """Our soft tokens, each sound encoded by itself."""
    encoders = load_multimodal(path, dtype=dtype).encoders
    with torch.inference_mode():
        return torch.cat([encoders.encode_audio(mel) for mel in mels])


@pytest.mark.parametrize("variant", ["e2b", "e4b"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sounds_of_any_length_give_the_soft_tokens_of_the_reference(
    make_media_checkpoint: MakeMediaCheckpoint, variant: str, seed: int
) -> None:
    path, mels = make_media_checkpoint(variant, seed), sounds(seed, LENGTHS)
    assert worst_row_error(ours(path, mels), theirs(path, mels)) < TOLERANCE


def test_thirty_seconds_give_the_soft_tokens_of_the_reference(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    path, mels = make_media_checkpoint("e2b", 0), sounds(9, [2999])
    assert len(ours(path, mels)) == 750
    assert worst_row_error(ours(path, mels), theirs(path, mels)) < TOLERANCE


@pytest.mark.parametrize(
    "audio",
    [
        {"attention_chunk_size": 4, "attention_context_left": 13},
        {"attention_chunk_size": 12, "attention_context_left": 5, "attention_context_right": 4},
        {"attention_chunk_size": 7, "attention_context_left": 9, "attention_context_right": 2},
        {"attention_logit_cap": 2.0},
        {"use_clipped_linears": False},
        {"gradient_clipping": 0.5},
        {"residual_weight": 0.8},
        {"rms_norm_eps": 1e-1},
        {"conv_kernel_size": 3},
        {"num_attention_heads": 4},
        {"subsampling_conv_channels": [128, 4]},
    ],
)
def test_every_config_switch_means_what_it_means_to_the_reference(
    make_media_checkpoint: MakeMediaCheckpoint, audio: dict[str, Any]
) -> None:
    path, mels = make_media_checkpoint("e2b", 3, audio=audio), sounds(3, [130, 60])
    assert worst_row_error(ours(path, mels), theirs(path, mels)) < TOLERANCE


def test_a_mild_value_for_hidden_tokens_lets_them_through_as_in_the_reference(
    make_media_checkpoint: MakeMediaCheckpoint,
) -> None:
    path = make_media_checkpoint("e2b", 3, audio={"attention_invalid_logits_value": -3.0})
    mels = sounds(3, [130])
    assert worst_row_error(ours(path, mels), theirs(path, mels)) < TOLERANCE


def test_clipping_bounds_change_what_comes_out(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    encoders, (mel,) = load_multimodal(make_media_checkpoint("e2b", 0)).encoders, sounds(0, [60])
    clipped = encoders.encode_audio(mel)
    for name, bound in encoders.audio.named_buffers():
        bound.fill_(-torch.inf if name.endswith("min") else torch.inf)
    assert worst_row_error(encoders.encode_audio(mel), clipped) > 0.1


def test_soft_tokens_in_bfloat16_are_as_near_to_float32_as_the_reference_s(
    make_media_checkpoint: MakeMediaCheckpoint,
) -> None:
    path, mels = make_media_checkpoint("e2b", 0), sounds(0, [130, 60])
    exact = theirs(path, mels)
    our_error = (ours(path, mels, torch.bfloat16) - exact).norm() / exact.norm()
    their_error = (theirs(path, mels, torch.bfloat16) - exact).norm() / exact.norm()
    assert our_error < 1.5 * their_error + 0.01


def test_a_token_hears_nothing_of_later_chunks(make_media_checkpoint: MakeMediaCheckpoint) -> None:
    encoders, (mel,) = load_multimodal(make_media_checkpoint("e2b", 0)).encoders, sounds(0, [400])
    changed = mel.clone()
    changed[300:] += 1
    before, after = encoders.encode_audio(mel), encoders.encode_audio(changed)
    torch.testing.assert_close(after[:74], before[:74])
    assert not torch.allclose(after[75:], before[75:])
