"""What a loop tells the outside: the outputs of requests and its own state in numbers."""

from dataclasses import dataclass
from typing import Literal

from model.answer import Pieces, visible_text

FinishReason = Literal["stop", "length", "abort", "error"]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its bytes, and its natural log probability."""

    token_id: int
    token: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """A generated token and the likeliest ones, best first, as the model alone found them: before bias, penalties,
    constraint, temperature and cuts."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class TokenOutput:
    """What one step added to one request's answer.

    `token_ids` are the new tokens, an end-of-sequence token included. `pieces` are what may be shown now:
    they lag behind the tokens by half a character, by what may become a stop string, or by a call that is not complete.
    `logprobs` has an entry for each of `token_ids`, or none if the request did not ask; `cached_tokens` of the prompt
    were in the prefix cache. The last output has the
    `stop_text` that ended the answer, the `error` behind finish reason "error", and the number of `thought_tokens` in
    the whole answer.
    """

    request_id: str
    token_ids: tuple[int, ...]
    pieces: Pieces = ()
    finish_reason: FinishReason | None = None
    stop_text: str | None = None
    error: Exception | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()
    cached_tokens: int = 0
    thought_tokens: int = 0

    @property
    def text(self) -> str:
        """The text among the pieces."""
        return visible_text(self.pieces)


@dataclass(frozen=True)
class RuntimeStats:
    """A loop's state. Token counts are of cached tokens; totals count since the start."""

    running: int
    waiting: int
    kv_tokens_used: int
    kv_tokens_capacity: int
    kv_bytes: int
    steps: int
    prompt_tokens: int
    generated_tokens: int
    preemptions: int
    reused_prompt_tokens: int
