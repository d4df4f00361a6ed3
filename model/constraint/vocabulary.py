"""A checkpoint's vocabulary as llguidance needs it."""

from collections.abc import Collection
from typing import Any

from llguidance import LLTokenizer

from model.tokenizer import Tokenizer

CHANNEL_BEGIN, CHANNEL_END, THINK = "<|channel>", "<channel|>", "<|think|>"
_CONTROL = (CHANNEL_BEGIN, CHANNEL_END, THINK, "<|tool_call>", "<tool_call|>", '<|"|>')


class _Tokens:
    """Implements the interface that LLTokenizer asks of a Python tokenizer."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_ids: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = min(eos_ids)
        self.bos_token_id = None
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in range(vocab_size)]
        control = control_ids(tokenizer) | set(eos_ids)
        self.special_token_ids = sorted(token_id for token_id in control if token_id < vocab_size)

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode_plain(text)


def control_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The ids that mean something else than their text, whether or not the checkpoint calls them special."""
    named = map(tokenizer.token_id, _CONTROL)
    return tokenizer.special_ids.union(token_id for token_id in named if token_id is not None)


def build_vocabulary(tokenizer: Tokenizer, vocab_size: int, eos_ids: Collection[int]) -> LLTokenizer:
    """Takes seconds for a large vocabulary. Where a grammar ends, each of `eos_ids` is allowed and nothing else."""
    tokens: Any = _Tokens(tokenizer, vocab_size, eos_ids)
    return LLTokenizer(tokens, eos_token=sorted(eos_ids))
