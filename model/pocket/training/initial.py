"""Random weights to begin with, of a size that lets a narrow network learn at once."""

from typing import Any

import torch
from torch import Tensor

_CHANNELS = 3
# Waves of up to this many half periods in a patch, along each of its sides.
_WAVES = 4
_WAVE_NORM = 2.0


@torch.no_grad()
def initialise(gemma: Any) -> None:
    """Every weight of transformers' Gemma 4, from torch's global generator.

    Matrices keep the size of what they map. Query and key norms begin at E^-1/4, for a head of E elements, so that
    attention, whose scale is 1, begins like the usual one of scale 1/sqrt(E).
    """
    for name, weight in gemma.named_parameters():
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            weight.fill_(weight.numel() ** -0.25)
        elif "patch_embedder.input_proj" in name:
            weight.copy_(_waves(*weight.shape))
        elif "position_embedding_table" in name:
            weight.normal_(std=0.02)
        elif "per_dim_scale" in name or name.endswith(".bias"):
            weight.zero_()
        elif ".experts." in name:
            weight.normal_(std=weight.shape[-1] ** -0.5)
        elif weight.dim() >= 2:
            weight.normal_(std=weight[0].numel() ** -0.5)
        else:
            weight.fill_(1.0)
    for name, buffer in gemma.named_buffers():
        if name.endswith(("layer_scalar", "std_scale")):
            buffer.fill_(1.0)
        elif name.endswith("std_bias"):
            buffer.zero_()


def _waves(num_outputs: int, num_inputs: int) -> Tensor:
    """[O, I]: each output a random mixture of slow waves over the patch, in each colour.

    Pixels are so alike that noise would answer to little but a patch's mean colour, and edges be learned late. Fast
    waves weigh more, as pictures have less of them (Field, 1987, "Relations between the statistics of natural images
    and the response properties of cortical cells").
    """
    side = round((num_inputs / _CHANNELS) ** 0.5)
    places = (torch.arange(side) + 0.5) / side
    waves_WS = torch.stack([torch.cos(torch.pi * wave * places) for wave in range(_WAVES)])
    speed_WW = 1 + torch.arange(_WAVES)[:, None] + torch.arange(_WAVES)
    mixture_OWWC = torch.randn(num_outputs, _WAVES, _WAVES, _CHANNELS) * speed_WW[..., None]
    weight_OSSC = torch.einsum("ovwc,vy,wx->oyxc", mixture_OWWC, waves_WS, waves_WS)
    flat_OI: Tensor = weight_OSSC.reshape(num_outputs, num_inputs)
    return torch.nn.functional.normalize(flat_OI, dim=1) * _WAVE_NORM
