"""How many prompt tokens a pass takes, so that a long prompt does not stall the answers that run beside it."""

from model.runtime.config import RuntimeConfig

# Smaller chunks would cost more than the weights they share a pass over.
_FEWEST_TOKENS = 32
_NEWEST_SHARE = 0.3


class PrefillLimit:
    """As many tokens as fit `max_pass_s` by the speed of past passes; with nobody to stall, `prefill_tokens`."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._most_tokens = config.prefill_tokens
        self._max_pass_s = config.max_pass_s
        self._seconds_per_token: float | None = None

    def tokens(self, is_decoding: bool) -> int:
        """Most prompt tokens of the next pass."""
        if not is_decoding or self._seconds_per_token is None:
            return self._most_tokens
        fitting = int(self._max_pass_s / self._seconds_per_token)
        return min(self._most_tokens, max(_FEWEST_TOKENS, fitting))

    def observe(self, num_tokens: int, seconds: float) -> None:
        """Learns from a pass of so many prompt tokens. One with few says nothing of their cost."""
        if num_tokens < min(_FEWEST_TOKENS, self._most_tokens) or seconds <= 0:
            return
        newest, past = seconds / num_tokens, self._seconds_per_token
        self._seconds_per_token = newest if past is None else past + _NEWEST_SHARE * (newest - past)
