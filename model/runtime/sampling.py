"""How the next token of a request is chosen, and when its answer ends."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SamplingParams:
    """Choices of one request. ValueError, naming the field, if one is out of range.

    At most `max_tokens` tokens; `temperature` 0 is greedy; `top_k` and `top_p` cut the distribution, k first.
    The same `seed` gives the same tokens whatever else is in the batch. Text ends before the first `stop`.
    """

    max_tokens: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        _require(self.max_tokens >= 1, f"max_tokens must be at least 1, not {self.max_tokens}")
        is_temperature = math.isfinite(self.temperature) and self.temperature >= 0
        _require(is_temperature, f"temperature must be 0 or above, not {self.temperature}")
        _require(self.top_k is None or self.top_k >= 1, f"top_k must be at least 1, not {self.top_k}")
        _require(self.top_p is None or 0 < self.top_p <= 1, f"top_p must be in (0, 1], not {self.top_p}")
        _require(isinstance(self.stop, tuple) and all(self.stop), "stop must be a tuple of non-empty strings")

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0

    @property
    def is_cut(self) -> bool:
        """Does top-k or top-p take tokens away?"""
        return not self.is_greedy and (self.top_k is not None or (self.top_p or 1.0) < 1.0)


def _require(is_met: bool, message: str) -> None:
    if not is_met:
        raise ValueError(message)
