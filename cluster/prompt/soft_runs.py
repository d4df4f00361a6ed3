"""What a medium becomes in a prompt: runs of soft tokens between a begin and an end token, some after a label."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import InvalidRequest, NotSupported
from cluster.request import MediaInfo
from model.config import ModelConfig
from model.preprocess.errors import UnusableMedia
from model.soft_tokens import SoftTokenRules, audio_soft_tokens, image_soft_tokens, video_frames
from model.tokenizer import Tokenizer


@dataclass(frozen=True)
class SoftRun:
    """Begin token, `count` soft tokens, end token; `label` is text in front of them."""

    label: str
    begin: int
    soft: int
    count: int
    end: int

    @property
    def ids(self) -> list[int]:
        return [self.begin, *[self.soft] * self.count, self.end]


class SoftRuns:
    """The runs of each medium, by a checkpoint's token ids and counting rules."""

    def __init__(self, config: ModelConfig, rules: SoftTokenRules, tokenizer: Tokenizer) -> None:
        image = (config.image_start_token_id, config.image_token_id, config.image_end_token_id)
        audio = (config.audio_start_token_id, config.audio_token_id, config.audio_end_token_id)
        # Frames of a video stand between image tokens.
        video = (config.image_start_token_id, config.video_token_id, config.image_end_token_id)
        found = {"image": image, "audio": audio, "video": video}
        self._tokens = {name: _known(ids, tokenizer) for name, ids in found.items()}
        self._rules = rules
        placeholders = {
            name: tokenizer.decode([ids[1]], skip_special=False) for name, ids in self._tokens.items() if ids
        }
        self._modality_of = {text: name for name, text in placeholders.items()}
        self._pattern = re.compile("|".join(map(re.escape, self._modality_of)) or r"(?!)")
        self.identity = repr((self._tokens, rules))

    @classmethod
    def from_checkpoint(cls, path: Path, tokenizer: Tokenizer) -> SoftRuns:
        """Raises CheckpointError."""
        return cls(ModelConfig.from_checkpoint(path), SoftTokenRules.from_checkpoint(path), tokenizer)

    def split(self, prompt: str) -> tuple[list[str], list[str]]:
        """The texts around the media placeholders of a rendered prompt, and the placeholders' modalities."""
        texts = self._pattern.split(prompt)
        return texts, [self._modality_of[text] for text in self._pattern.findall(prompt)]

    def of(self, info: MediaInfo, max_soft_tokens: int | None = None) -> list[SoftRun]:
        """The runs of one medium, at most `max_soft_tokens` in each of an image or video (None: the checkpoint's).

        Raises NotSupported if the checkpoint has no tokens for it, InvalidRequest if it is too long a strip.
        """
        ids = self._tokens[info.modality]
        if ids is None:
            raise NotSupported(f"this checkpoint's vocabulary has no tokens for {info.modality}")
        begin, soft, end = ids
        try:
            counts = _counts(info, self._rules.at(max_soft_tokens))
        except UnusableMedia as error:
            raise InvalidRequest.of("contents", str(error)) from error
        return [SoftRun(label, begin, soft, count, end) for label, count in counts]


def _counts(info: MediaInfo, rules: SoftTokenRules) -> list[tuple[str, int]]:
    """Label and soft tokens of each run."""
    if info.modality == "image":
        return [("", image_soft_tokens(info.width, info.height, rules))]
    if info.modality == "audio":
        return [("", audio_soft_tokens(info.duration_s, rules))]
    frames = video_frames(info.width, info.height, info.frame_count, info.frames_per_s, rules)
    # A label and a space before each frame, a space between frames.
    return [(f"{' ' if i else ''}{label} ", frames.tokens_per_frame) for i, label in enumerate(frames.labels)]


def _known(ids: tuple[int | None, ...], tokenizer: Tokenizer) -> tuple[int, int, int] | None:
    begin, soft, end = ids
    if begin is None or soft is None or end is None or max(begin, soft, end) >= tokenizer.vocab_size:
        return None
    return begin, soft, end
