"""How well soft tokens say, in words of the vocabulary, what they stand for.

Shapes: N soft tokens of all pictures, L soft tokens of the longest sound, M sounds, V vocabulary.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model.pocket.training.labels import NOTHING, Shares
from model.pocket.training.prepared import Sound

# How much a soft token that should say nothing counts: most of a picture is background.
_BACKGROUND = 0.1


def picture_loss(said_NV: Tensor, cells: Sequence[Shares]) -> Tensor:
    """Divergence, so that 0 is the best: several words at once can only be said with a share each."""
    share_NV = torch.zeros_like(said_NV)
    for index, words in enumerate(cells):
        for word, share in (words or {NOTHING: 1.0}).items():
            share_NV[index, word] = share
    weight_N = torch.tensor([1.0 if words else _BACKGROUND for words in cells])
    loss_N = F.kl_div(said_NV.log_softmax(-1), share_NV, reduction="none").sum(-1)
    return (loss_N * weight_N).sum() / weight_N.sum()


def sound_loss(said: Sequence[Tensor], sounds: Sequence[Sound]) -> Tensor:
    """Connectionist temporal classification (Graves et al., 2006) of [L, V] for each sound."""
    said_LMV = pad_sequence(list(said)).log_softmax(-1)
    loss: Tensor = F.ctc_loss(
        said_LMV,
        torch.tensor([word for sound in sounds for word in sound.said]),
        torch.tensor([sound.soft_tokens for sound in sounds]),
        torch.tensor([len(sound.said) for sound in sounds]),
        blank=NOTHING,
        zero_infinity=True,
    )
    return loss
