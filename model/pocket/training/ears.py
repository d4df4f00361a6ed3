"""The audio tower learning by itself to say the words it hears: the same ears serve every variant that hears."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import Gemma4AudioModel

from model.config import ModelConfig
from model.pocket.training import towers
from model.pocket.training.hf import hf_config
from model.pocket.training.initial import initialise
from model.pocket.training.optimizers import optimizers
from model.pocket.training.prepared import Sound
from model.pocket.training.products import fast_products
from model.pocket.training.saying import sound_loss

# The highest learning rates.
_MATRICES_RATE, _OTHERS_RATE = 1e-2, 3e-3


class Ears(nn.Module):
    """`tower` is what is kept; `head` says the words until a decoder listens."""

    def __init__(self, config: ModelConfig, *, is_compiled: bool = True) -> None:
        super().__init__()
        audio = hf_config(config).audio_config
        self.tower: Any = Gemma4AudioModel(audio)
        self.head = nn.Linear(audio.output_proj_dims, config.text.vocab_size, bias=False)
        initialise(self)
        if is_compiled:
            towers.compile_audio(self.tower)

    def losses(self, sounds: list[Sound]) -> dict[str, Tensor]:
        """{"audio": how unlikely the spoken words are}."""
        with fast_products():
            heard = towers.hear(self.tower, sounds)
        normed = [F.rms_norm(one_LH.float(), one_LH.shape[-1:]) for one_LH in heard]
        return {"audio": sound_loss([self.head(one_LH) for one_LH in normed], sounds)}

    def optimizers(self) -> list[Optimizer]:
        """Of all weights."""
        return optimizers(self, _MATRICES_RATE, _OTHERS_RATE)
