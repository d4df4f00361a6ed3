"""A checked request as frozen data: the codec makes it; router, sessions and prompt builder read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from protos.gemmacluster.v1.content_pb2 import Content, FunctionDeclaration
from protos.gemmacluster.v1.generation_pb2 import ResponseFormat

AUTO = "auto"
MediaModality = Literal["image", "audio", "video"]
Preference = Literal["fast", "balanced", "best"]
Priority = Literal["interactive", "batch"]


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What is known of media bytes that were decoded and found sound.

    Width and height are in pixels, as seen (orientation applied); 0 for sound. Duration and frames are 0 for
    images, frames for sound. `frames_per_s` 0 means that a video does not say.
    """

    modality: MediaModality
    mime_type: str
    sha256: str
    width: int = 0
    height: int = 0
    duration_s: float = 0.0
    frame_count: int = 0
    frames_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SamplingOverrides:
    """What the caller said of sampling; None where the variant's default holds."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    response_format: ResponseFormat | None = None


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request with every field checked. `contents` hold no system content and no unset role.

    `priority` is None where the caller's default holds.
    """

    request_id: str
    contents: tuple[Content, ...]
    model: str = AUTO
    system_instruction: Content | None = None
    sampling: SamplingOverrides = SamplingOverrides()
    thinking: bool = False
    preference: Preference = "balanced"
    allowed_variants: tuple[str, ...] = ()
    max_cost: float | None = None
    session_id: str | None = None
    session_etag: str | None = None
    tools: tuple[FunctionDeclaration, ...] = ()
    media: Mapping[str, MediaInfo] = field(default_factory=dict)
    priority: Priority | None = None

    @property
    def modalities(self) -> frozenset[str]:
        """What the contents hold: "text" always, and the modality of each medium."""
        return frozenset({"text"} | {info.modality for info in self.media.values()})
