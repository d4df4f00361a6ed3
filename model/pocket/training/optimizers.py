"""How weights are trained: AdamW for all, or Muon for the matrices between hidden states and AdamW for the rest."""

from collections.abc import Iterable

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

_DECAY = 0.05
_BETAS = (0.9, 0.98)


def adamw(weights: Iterable[nn.Parameter], rate: float) -> Optimizer:
    """Decays only what has two dimensions or more."""
    chosen = list(weights)
    matrices = [weight for weight in chosen if weight.dim() >= 2]
    vectors = [weight for weight in chosen if weight.dim() < 2]
    groups = [{"params": matrices, "weight_decay": _DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return AdamW(groups, lr=rate, betas=_BETAS)


def muon(matrices: Iterable[nn.Parameter], rate: float) -> Optimizer:
    """Steps of the same size in every direction of a matrix (Jordan et al., 2024, "Muon: An optimizer for hidden layers
    in neural networks"), scaled so that rates mean what they mean to AdamW.

    What takes AdamW thousands of steps, copying letter by letter what was said long before, is learned in hundreds.
    """
    return Muon(matrices, lr=rate, weight_decay=_DECAY, adjust_lr_fn="match_rms_adamw")
