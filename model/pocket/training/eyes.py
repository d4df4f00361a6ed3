"""The vision tower learning by itself to say what stands where: the same eyes serve every variant."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import Gemma4VisionModel

from model.config import ModelConfig
from model.pocket.training import towers
from model.pocket.training.hf import hf_config
from model.pocket.training.initial import initialise
from model.pocket.training.optimizers import optimizers
from model.pocket.training.prepared import Picture
from model.pocket.training.saying import picture_loss

# The highest learning rates.
_MATRICES_RATE, _OTHERS_RATE = 1e-2, 3e-3


class Eyes(nn.Module):
    """`tower` is what is kept; the heads say what is where, and what each soft token shows, until a decoder listens."""

    def __init__(self, config: ModelConfig, *, is_compiled: bool = True) -> None:
        super().__init__()
        vision = hf_config(config).vision_config
        # The scale of the output is a matter of the variant, not of seeing.
        vision.standardize = False
        self.tower: Any = Gemma4VisionModel(vision)
        self.places = nn.Linear(vision.hidden_size, config.text.vocab_size, bias=False)
        self.surfaces = nn.Linear(vision.hidden_size, config.text.vocab_size, bias=False)
        initialise(self)
        if is_compiled:
            towers.compile_vision(self.tower)

    def losses(self, pictures: list[Picture]) -> dict[str, Tensor]:
        """How far the words are from what the pictures show. Surfaces are learned first, and places by them."""
        seen_NH = towers.see(self.tower, pictures)
        seen_NH = F.rms_norm(seen_NH, seen_NH.shape[-1:])
        return {
            "places": picture_loss(self.places(seen_NH), [words for one in pictures for words in one.places_N]),
            "surfaces": picture_loss(self.surfaces(seen_NH), [words for one in pictures for words in one.surfaces_N]),
        }

    def optimizers(self) -> list[Optimizer]:
        """Of all weights."""
        return optimizers(self, _MATRICES_RATE, _OTHERS_RATE)
