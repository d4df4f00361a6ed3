"""Matrix products in bfloat16, on CPUs with tiles for them (AMX): a step of a decoder takes half to two thirds.

Weights, optimisers and losses stay in float32; so does attention where it learns, which torch has no fast backward
for in bfloat16.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

_NAME = "float32_sdpa"
_DEVICE = "cpu"


def fast_products() -> torch.autocast:
    """What is done within has its matrix products so; on other CPUs it changes nothing."""
    return torch.autocast(_DEVICE, torch.bfloat16, enabled=torch.cpu._is_amx_tile_supported())


def attend_in_float32(text: Any) -> None:
    """Makes the layers of transformers' text model do so within `fast_products`, too."""
    AttentionInterface.register(_NAME, _float32_attention)
    text.config._attn_implementation = _NAME


def _float32_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    with torch.autocast(_DEVICE, enabled=False):
        return sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **options)
