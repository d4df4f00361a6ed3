"""How the next token of a request is chosen, and when its answer ends."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from model.runtime.response_format import ResponseFormat

MAX_LOGPROBS = 20


@dataclass(frozen=True)
class SamplingParams:
    """Choices of one request. ValueError, naming the field, if one is out of range.

    At most `max_tokens` tokens; `temperature` 0 is greedy. The same `seed` gives the same tokens whatever else is in
    the batch. Text ends before the first `stop`. `logprobs` reports each token's log probability and those of so many
    likeliest ones. The scores go through, in this order:

    1. `logit_bias`, by token id, is added.
    2. `repetition_penalty` divides positive scores, and multiplies negative ones, of tokens in prompt or answer.
    3. `frequency_penalty` is taken once for each time that the answer holds the token, `presence_penalty` just once.
    4. `response_format` rules tokens out.
    5. They are divided by `temperature`; greedy requests take the highest here.
    6. `min_p` cuts tokens less likely than this share of the likeliest; then `top_k`, then `top_p` of what is left.
    """

    max_tokens: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    response_format: ResponseFormat | None = None

    def __post_init__(self) -> None:
        _require(self.max_tokens >= 1, f"max_tokens must be at least 1, not {self.max_tokens}")
        is_temperature = math.isfinite(self.temperature) and self.temperature >= 0
        _require(is_temperature, f"temperature must be 0 or above, not {self.temperature}")
        _require(self.top_k is None or self.top_k >= 1, f"top_k must be at least 1, not {self.top_k}")
        _require(self.top_p is None or 0 < self.top_p <= 1, f"top_p must be in (0, 1], not {self.top_p}")
        _require(isinstance(self.stop, tuple) and all(self.stop), "stop must be a tuple of non-empty strings")
        self._check_scores()

    def _check_scores(self) -> None:
        _require(0 <= self.min_p <= 1, f"min_p must be in [0, 1], not {self.min_p}")
        is_divisor = math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0
        _require(is_divisor, f"repetition_penalty must be above 0, not {self.repetition_penalty}")
        for name in ("presence_penalty", "frequency_penalty"):
            _require(math.isfinite(getattr(self, name)), f"{name} must be finite, not {getattr(self, name)}")
        is_bias = all(token_id >= 0 and math.isfinite(bias) for token_id, bias in self.logit_bias.items())
        _require(is_bias, "logit_bias must map token ids to finite numbers")
        is_count = self.logprobs is None or 0 <= self.logprobs <= MAX_LOGPROBS
        _require(is_count, f"logprobs must be 0 to {MAX_LOGPROBS}, not {self.logprobs}")

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0

    @property
    def is_cut(self) -> bool:
        """Does top-k or top-p take tokens away?"""
        return not self.is_greedy and (self.top_k is not None or (self.top_p or 1.0) < 1.0)

    @property
    def is_penalised(self) -> bool:
        """Do the scores depend on the tokens so far?"""
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0


def _require(is_met: bool, message: str) -> None:
    if not is_met:
        raise ValueError(message)
