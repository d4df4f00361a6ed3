"""How many soft tokens an image, a sound or a video takes in a prompt, as transformers' processors count.

Arithmetic alone: nothing is decoded here and torch is not imported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from model.checkpoint import CheckpointError, read_json
from model.config import ModelConfig
from model.preprocess.errors import UnusableMedia

# The audio encoder's two convolutions each halve the frames, rounding up.
_NUM_HALVINGS = 2
# What transformers assumes for a video that does not say.
_DEFAULT_FRAMES_PER_S = 24.0
# What transformers' processors take as most soft tokens of an image or a frame.
RESOLUTIONS = (70, 140, 280, 560, 1120)


@dataclass(frozen=True)
class SoftTokenRules:
    """What decides the counts. Defaults are the published checkpoints'. ValueError unless all are above 0."""

    patch_size: int = 16  # pixels
    pooling_kernel_size: int = 3  # patches
    max_image_tokens: int = 280
    max_frame_tokens: int = 70
    max_frames: int = 32
    sampling_rate_hz: int = 16_000
    window_samples: int = 320
    hop_samples: int = 160
    max_audio_tokens: int = 750
    max_audio_samples: int = 480_000
    position_table_size: int = 10_240  # patches in a row or column

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{field.name} must be a positive integer, not {value!r}")

    @property
    def side_multiple(self) -> int:
        """Pixels: both sides of a resized image are multiples of this, one soft token each."""
        return self.patch_size * self.pooling_kernel_size

    @property
    def max_audio_s(self) -> float:
        """Seconds of sound that an audio part can hold."""
        return self.max_audio_samples / self.sampling_rate_hz

    def at(self, max_soft_tokens: int | None) -> SoftTokenRules:
        """The rules with that bound on an image and on each frame; None leaves the checkpoint's."""
        if max_soft_tokens is None:
            return self
        return replace(self, max_image_tokens=max_soft_tokens, max_frame_tokens=max_soft_tokens)

    @classmethod
    def from_checkpoint(cls, path: Path) -> SoftTokenRules:
        """From processor_config.json, else the older preprocessor files, else config.json.

        Raises CheckpointError.
        """
        processor = _optional(path, "processor_config.json")
        image = processor.get("image_processor") or _optional(path, "preprocessor_config.json")
        video = processor.get("video_processor") or _optional(path, "video_preprocessor_config.json")
        audio = processor.get("feature_extractor") or _optional(path, "preprocessor_config.json")
        found = _vision_rules(path) | _image_rules(image) | _video_rules(video) | _audio_rules(audio, processor)
        try:
            return cls(**found)
        except ValueError as error:
            raise CheckpointError(f"processor config of {path}: {error}") from error


@dataclass(frozen=True)
class VideoFrames:
    """The frames a video is sampled into: their indices, their times in seconds, the soft tokens of each."""

    indices: tuple[int, ...]
    times_s: tuple[float, ...]
    tokens_per_frame: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The "mm:ss" text before each frame; minutes go on past 99."""
        return tuple(f"{int(time // 60):02d}:{int(time % 60):02d}" for time in self.times_s)

    @property
    def tokens(self) -> int:
        return len(self.indices) * self.tokens_per_frame


def resized(width: int, height: int, max_tokens: int, rules: SoftTokenRules) -> tuple[int, int]:
    """(width, height) in pixels that an image is resized to: shape kept, at most `max_tokens` soft tokens.

    Both are multiples of `rules.side_multiple`, rounded down but never to 0. ValueError if it has no pixels,
    UnusableMedia if it then has more patches in a row or column than the checkpoint has positions for.
    """
    if width < 1 or height < 1:
        raise ValueError(f"an image of {width}x{height} has no pixels")
    multiple = rules.side_multiple
    scale = math.sqrt(max_tokens * multiple**2 / (height * width))
    columns, rows = math.floor(scale * width / multiple), math.floor(scale * height / multiple)
    if rows == 0:
        rows, columns = 1, min(width // height, max_tokens)
    elif columns == 0:
        rows, columns = min(height // width, max_tokens), 1
    longest = max(columns, rows) * rules.pooling_kernel_size
    if longest > rules.position_table_size:
        raise UnusableMedia(
            f"an image of {width}x{height} has {longest} patches in a row or column at {max_tokens} soft tokens; "
            f"this model has positions for {rules.position_table_size}"
        )
    return columns * multiple, rows * multiple


def image_soft_tokens(width: int, height: int, rules: SoftTokenRules) -> int:
    """Soft tokens of a still image of that many pixels."""
    return _tokens_of(resized(width, height, rules.max_image_tokens, rules), rules)


def audio_soft_tokens(duration_s: float, rules: SoftTokenRules) -> int:
    """Soft tokens of a sound. Nothing beyond `rules.max_audio_s` counts; 0 if it is too short for one."""
    # Rounded first, so that n samples written as seconds are n samples again.
    samples = math.ceil(round(duration_s * rules.sampling_rate_hz, 3))
    samples = min(samples, rules.max_audio_samples)
    # Half a window of silence goes before the first sample; a frame needs one sample more than its window.
    padded = samples + rules.window_samples // 2
    return mel_soft_tokens(max(0, (padded - rules.window_samples - 1) // rules.hop_samples + 1), rules)


def mel_soft_tokens(num_frames: int, rules: SoftTokenRules) -> int:
    """Soft tokens of a sound of so many mel frames."""
    for _ in range(_NUM_HALVINGS):
        num_frames = (num_frames + 1) // 2
    return min(num_frames, rules.max_audio_tokens)


def video_frames(width: int, height: int, frame_count: int, frames_per_s: float, rules: SoftTokenRules) -> VideoFrames:
    """Which frames of a video the model sees: at most `rules.max_frames`, evenly spread from the first.

    `frames_per_s` 0 stands for unknown. ValueError for a video without frames or pixels.
    """
    if frame_count < 1:
        raise ValueError("a video without frames")
    sampled = min(frame_count, rules.max_frames)
    indices = tuple(i * frame_count // sampled for i in range(sampled))
    rate = frames_per_s or _DEFAULT_FRAMES_PER_S
    tokens = _tokens_of(resized(width, height, rules.max_frame_tokens, rules), rules)
    return VideoFrames(indices, tuple(index / rate for index in indices), tokens)


def _tokens_of(size: tuple[int, int], rules: SoftTokenRules) -> int:
    width, height = size
    return (width // rules.side_multiple) * (height // rules.side_multiple)


def _optional(path: Path, name: str) -> dict[str, Any]:
    return read_json(path / name) if (path / name).exists() else {}


def _vision_rules(path: Path) -> dict[str, Any]:
    if not (path / "config.json").exists():
        return {}
    vision = ModelConfig.from_checkpoint(path).vision
    if vision is None:
        return {}
    return {
        "patch_size": vision.patch_size,
        "pooling_kernel_size": vision.pooling_kernel_size,
        "max_image_tokens": vision.default_output_length,
        "position_table_size": vision.position_table_size,
    }


def _image_rules(image: dict[str, Any]) -> dict[str, Any]:
    names = {
        "patch_size": "patch_size",
        "pooling_kernel_size": "pooling_kernel_size",
        "max_image_tokens": "max_soft_tokens",
    }
    return _pick(image, names)


def _video_rules(video: dict[str, Any]) -> dict[str, Any]:
    return _pick(video, {"max_frame_tokens": "max_soft_tokens", "max_frames": "num_frames"})


def _audio_rules(audio: dict[str, Any], processor: dict[str, Any]) -> dict[str, Any]:
    names = {
        "sampling_rate_hz": "sampling_rate",
        "window_samples": "frame_length",
        "hop_samples": "hop_length",
    }
    return _pick(audio, names) | _pick(processor, {"max_audio_tokens": "audio_seq_length"})


def _pick(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {ours: values[theirs] for ours, theirs in names.items() if values.get(theirs) is not None}
