"""What a loop tells the outside: the outputs of requests and its own state in numbers."""

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length", "abort", "error"]


@dataclass(frozen=True)
class TokenOutput:
    """What one step added to one request's answer.

    `token_ids` are the new tokens, an end-of-sequence token included. `text` is what may be shown now: it
    lags behind the tokens by half a character or by what may become a stop string. `stop_text` names the stop
    string that ended the answer, `error` the exception behind finish reason "error".
    """

    request_id: str
    token_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason | None = None
    stop_text: str | None = None
    error: Exception | None = None


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
