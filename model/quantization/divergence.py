"""How far a quantised model's next-token distributions are from those of the whole model.

Shapes: T tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.full_attention import FullAttention
from model.quantization.scheme import Quantization
from model.weights import load_model


@dataclass(frozen=True)
class Divergence:
    """KL(whole || quantised) in nats per token, and how often both would say the same next token."""

    mean: float
    largest: float
    agreement: float


@torch.inference_mode()
def log_probabilities(
    path: Path, tokens_T: Tensor, quantization: Quantization | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Of every token that may follow each prefix, float32 [T, V]; loads the model and drops it."""
    model = load_model(path, quantization=quantization, dtype=dtype)
    logits_TV = model(tokens_T, torch.arange(len(tokens_T)), FullAttention([len(tokens_T)]))
    return logits_TV.log_softmax(-1)  # type: ignore[no-any-return]


def divergence(whole_TV: Tensor, quantized_TV: Tensor) -> Divergence:
    """Of two sets of log probabilities, as `log_probabilities` makes them."""
    kl_T = (whole_TV.exp() * (whole_TV - quantized_TV)).sum(-1)
    agreement = (whole_TV.argmax(-1) == quantized_TV.argmax(-1)).float().mean()
    return Divergence(kl_T.mean().item(), kl_T.max().item(), agreement.item())
