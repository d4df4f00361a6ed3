"""What keys and values cost: global layers keep all tokens of a sequence, sliding layers a window of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.config import LayerSpec, TextConfig

KV_BYTES = {"bf16": 2, "fp8": 1}
_BLOCK_TOKENS = 16


@dataclass(frozen=True)
class KvCost:
    """Bytes of one token on one rank, in all layers of a kind that own keys and values."""

    global_bytes: int
    local_bytes: int
    window: int

    def sequence_bytes(self, tokens: int, in_flight: int = 0) -> int:
        """Of a sequence of `tokens`, of which sliding layers also hold what `in_flight` steps have not settled yet."""
        # A window need not begin where a block does, so that it reaches into one more.
        local = _blocks(min(self.window + in_flight, tokens)) + _BLOCK_TOKENS
        return _blocks(tokens) * self.global_bytes + local * self.local_bytes

    @property
    def window_bytes(self) -> int:
        """The most that a long sequence keeps in sliding layers."""
        return self.window * self.local_bytes


def kv_cost(text: TextConfig, bytes_per_number: int, ranks: int = 1) -> KvCost:
    """Of one of `ranks` tensor-parallel GPUs: heads are shared, and repeated where there are fewer than ranks."""
    return KvCost(
        global_bytes=kv_bytes_per_token(text, bytes_per_number, has_window=False, ranks=ranks),
        local_bytes=kv_bytes_per_token(text, bytes_per_number, has_window=True, ranks=ranks),
        window=text.sliding_window,
    )


def kv_bytes_per_token(text: TextConfig, bytes_per_number: int, *, has_window: bool, ranks: int = 1) -> int:
    """Bytes of a token in the layers, with or without a window, that have keys and values of their own."""
    return sum(
        2 * max(1, spec.num_kv_heads // ranks) * spec.head_dim * bytes_per_number
        for spec in owners(text)
        if (spec.window is not None) == has_window
    )


def owners(text: TextConfig) -> list[LayerSpec]:
    """The layers that read no other's keys and values."""
    return [spec for spec in text.layers if spec.kv_source is None]


def _blocks(tokens: int) -> int:
    """Tokens as whole blocks."""
    return math.ceil(tokens / _BLOCK_TOKENS) * _BLOCK_TOKENS
