"""Rules out the tokens that would break a request's response format.

Shapes: N rows, C constrained rows, V vocabulary, W 32-bit words that hold a bit a token.
"""

import numpy as np
import torch
from llguidance import LLExecutor
from torch import Tensor

from model.constraint import Constraint, ConstraintError
from model.constraint.vocabulary import CHANNEL_END, control_ids
from model.runtime.sequence import Sequence
from model.tokenizer import Tokenizer

_WORD_BITS = 32


class TokenMask:
    """The masks of a batch, computed by all of its threads together."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._executor: LLExecutor | None = None
        self._is_thought_V = torch.empty(0, dtype=torch.bool)

    def apply_to(self, logits_NV: Tensor, sequences: list[Sequence]) -> dict[int, ConstraintError]:
        """In place; nothing happens, at no cost, without a constraint. Returns the rows that cannot go on."""
        constraints = {row: item.constraint for row, item in enumerate(sequences) if item.constraint is not None}
        if not constraints:
            return {}
        for row, constraint in constraints.items():
            constraint.follow(sequences[row].tokens, sequences[row].prompt_length)
        is_ruled_out_NV = torch.zeros_like(logits_NV, dtype=torch.bool, device="cpu")
        is_ruled_out_NV[list(constraints)] = ~self._allowed(list(constraints.values()), logits_NV.shape[1])
        logits_NV.masked_fill_(is_ruled_out_NV.to(logits_NV.device), -torch.inf)
        return {row: error for row, constraint in constraints.items() if (error := constraint.error) is not None}

    def _allowed(self, constraints: list[Constraint], vocab: int) -> Tensor:
        bits_CW = np.zeros((len(constraints), -(-vocab // _WORD_BITS)), dtype=np.int32)
        ruled = [(item.matcher, row) for row, item in enumerate(constraints) if not item.is_thinking]
        if self._executor is None:
            self._executor = LLExecutor(torch.get_num_threads())
        if ruled:
            self._executor.unsafe_compute_mask_ptr(ruled, bits_CW.ctypes.data, bits_CW.strides[0], len(constraints))
        bytes_CV = np.unpackbits(bits_CW.view(np.uint8), axis=1, count=vocab, bitorder="little")
        allowed_CV = torch.from_numpy(bytes_CV).view(torch.bool)
        for row, item in enumerate(constraints):
            if item.is_thinking:
                allowed_CV[row] = self._thought(vocab)
            elif item.also_allowed is not None:
                allowed_CV[row, item.also_allowed] = True
        return allowed_CV

    def _thought(self, vocab: int) -> Tensor:
        """Any text, and the channel's end."""
        if len(self._is_thought_V) != vocab:
            control_C = torch.tensor(list(control_ids(self._tokenizer) - {self._tokenizer.token_id(CHANNEL_END)}))
            ids_V = torch.arange(vocab)
            self._is_thought_V = (ids_V < self._tokenizer.vocab_size) & ~torch.isin(ids_V, control_C)
        return self._is_thought_V
