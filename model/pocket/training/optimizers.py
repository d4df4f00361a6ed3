"""How weights are trained: Muon for the matrices between hidden states, AdamW for all else."""

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

_DECAY = 0.05
_BETAS = (0.9, 0.98)


def optimizers(learner: nn.Module, matrices_rate: float, others_rate: float) -> list[Optimizer]:
    """The rates are the highest ones.

    Muon takes steps of one size in every direction of a matrix (Jordan et al., 2024, "Muon: An optimizer for hidden
    layers in neural networks"), here scaled so that rates mean what they mean to AdamW. Experts and convolutions, with
    more than two dimensions, it does not take.
    """
    learning = [(name, weight) for name, weight in learner.named_parameters() if weight.requires_grad]
    hidden = {name: weight for name, weight in learning if ".layers." in name and weight.dim() == 2}
    others = [weight for name, weight in learning if name not in hidden]
    groups = [
        {"params": [weight for weight in others if weight.dim() >= 2], "weight_decay": _DECAY},
        {"params": [weight for weight in others if weight.dim() < 2], "weight_decay": 0.0},
    ]
    return [
        Muon(hidden.values(), lr=matrices_rate, weight_decay=_DECAY, adjust_lr_fn="match_rms_adamw"),
        AdamW(groups, lr=others_rate, betas=_BETAS),
    ]
