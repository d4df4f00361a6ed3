"""How well soft tokens say, in words of the vocabulary, what they stand for.

Shapes: N soft tokens of all pictures, S shares of words that they are to say, L soft tokens of the longest sound,
M sounds, V vocabulary.
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
_SILENT: Shares = {NOTHING: 1.0}


def picture_loss(said_NV: Tensor, cells: Sequence[Shares]) -> Tensor:
    """Divergence, so that 0 is the best: several words at once can only be said with a share each."""
    said = [(index, word, share) for index, words in enumerate(cells) for word, share in (words or _SILENT).items()]
    index_S, word_S, share_S = (torch.tensor(one) for one in zip(*said, strict=True))
    weight_N = torch.tensor([1.0 if words else _BACKGROUND for words in cells])
    loss_S = share_S * (share_S.log() - said_NV.log_softmax(-1)[index_S, word_S])
    return (loss_S * weight_N[index_S]).sum() / weight_N.sum()


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
