"""Random weights to begin with, of a size that lets a narrow network learn at once."""

from typing import Any

import torch


@torch.no_grad()
def initialise(gemma: Any) -> None:
    """Every weight of transformers' Gemma 4, from torch's global generator.

    Matrices keep the size of what they map. Query and key norms begin at E^-1/4, for a head of E elements, so that
    attention, whose scale is 1, begins like the usual one of scale 1/sqrt(E).
    """
    for name, weight in gemma.named_parameters():
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            weight.fill_(weight.numel() ** -0.25)
        elif "position_embedding_table" in name:
            weight.normal_(std=0.02)
        elif "per_dim_scale" in name or name.endswith(".bias"):
            weight.zero_()
        elif weight.dim() >= 2:
            weight.normal_(std=weight[0].numel() ** -0.5)
        else:
            weight.fill_(1.0)
    for name, buffer in gemma.named_buffers():
        if name.endswith(("layer_scalar", "std_scale")):
            buffer.fill_(1.0)
        elif name.endswith("std_bias"):
            buffer.zero_()
