"""The one interface behind which every engine runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import Enum

from model.answer import Pieces, visible_text
from model.runtime.output import TokenLogprobs
from model.runtime.sampling import SamplingParams


class FinishReason(Enum):
    """Why generation ended."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class EngineMedium:
    """An image, a sound or a video of the prompt. `max_soft_tokens` bounds an image, or each frame of a video; None
    stands for the checkpoint's rule."""

    mime_type: str
    data: bytes
    max_soft_tokens: int | None = None

    @property
    def modality(self) -> str:
        """image, audio or video."""
        return self.mime_type.partition("/")[0]


@dataclass(frozen=True)
class EngineRequest:
    """What an engine is asked: the whole prompt as token ids, how to sample, and the media behind the placeholders
    among the ids, in their order.

    `answered_token_ids` are of an answer that another engine over the same checkpoint began: the engine computes what
    comes after them, as it would have done itself, and puts out nothing that they let be shown already.
    """

    request_id: str
    prompt_token_ids: list[int]
    sampling: SamplingParams
    media: tuple[EngineMedium, ...] = ()
    answered_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """What became ready since the last output: pieces, the number of tokens, their ids (none for an answer without any
    token) and, if asked for, their log probabilities.

    Every output has the number of prompt tokens that the engine did not have to compute, the last one also the number
    of tokens of thoughts in the whole answer.
    """

    pieces: Pieces
    token_count: int
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    logprobs: tuple[TokenLogprobs, ...] = ()
    thought_tokens: int = 0
    token_ids: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The text among the pieces."""
        return visible_text(self.pieces)


@dataclass(frozen=True)
class EngineLoad:
    """How busy an engine is."""

    running: int = 0
    waiting: int = 0
    kv_tokens: int = 0
    kv_capacity_tokens: int = 0
    details: dict[str, float] = field(default_factory=dict)


class Engine(ABC):
    """Generates for many requests at once."""

    @abstractmethod
    async def start(self) -> None:
        """Loads weights and gets ready. Raises when the checkpoint cannot be loaded."""

    @abstractmethod
    def generate(self, request: EngineRequest) -> AsyncGenerator[EngineOutput, None]:
        """Yields outputs until one has a finish reason. Closing the generator frees the request's slot.

        Raises `cluster.errors.Overloaded` when the engine's queue is full, `NotSupported` for an answer that it cannot
        go on with exactly, `ReplicaLost` when it is stopped or dies meanwhile.
        """

    @abstractmethod
    def load(self) -> EngineLoad:
        """How busy the engine is right now."""

    @abstractmethod
    async def check_health(self) -> None:
        """Raises when the engine cannot serve any more."""

    @abstractmethod
    async def stop(self) -> None:
        """Ends all requests and frees everything."""
