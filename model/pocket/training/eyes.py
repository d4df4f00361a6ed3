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
    """`tower` is what is kept; `head` says the words until a decoder listens."""

    def __init__(self, config: ModelConfig, *, is_compiled: bool = True) -> None:
        super().__init__()
        vision = hf_config(config).vision_config
        # The scale of the output is a matter of the variant, not of seeing.
        vision.standardize = False
        self.tower: Any = Gemma4VisionModel(vision)
        self.head = nn.Linear(vision.hidden_size, config.text.vocab_size, bias=False)
        initialise(self)
        if is_compiled:
            towers.compile_vision(self.tower)

    def losses(self, pictures: list[Picture]) -> dict[str, Tensor]:
        """{"image": how far the words are from what the pictures show}."""
        seen_NH = towers.see(self.tower, pictures)
        return {"image": picture_loss(self.head(F.rms_norm(seen_NH, seen_NH.shape[-1:])), pictures)}

    def optimizers(self) -> list[Optimizer]:
        """Of all weights."""
        return optimizers(self, _MATRICES_RATE, _OTHERS_RATE)
