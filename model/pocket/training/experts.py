"""Experts as few large products: each computes every token, which for experts this small is faster than choosing.

Shapes: T tokens, D hidden, K experts of a token, E experts, I size of an expert.
"""

from typing import Any

from torch import Tensor
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

_NAME = "every_expert"


def compute_every_expert(gemma: Any) -> None:
    """Makes the model's experts work so. What the router did not choose counts nothing: results are the same."""
    ALL_EXPERTS_FUNCTIONS.register(_NAME, every_expert)
    gemma.model.language_model.config._experts_implementation = _NAME


def every_expert(experts: Any, hidden_TD: Tensor, index_TK: Tensor, weight_TK: Tensor) -> Tensor:
    """[T, D]: the sum of the chosen experts' outputs, each by its weight."""
    share_TE = weight_TK.new_zeros(len(hidden_TD), experts.num_experts).scatter(1, index_TK, weight_TK)
    gate_up_TEI = (hidden_TD @ experts.gate_up_proj.flatten(0, 1).T).unflatten(1, (experts.num_experts, -1))
    gate_TEI, up_TEI = gate_up_TEI.chunk(2, dim=-1)
    # In one type: mixed ones would make the whole line slow.
    inner_TEI = experts.act_fn(gate_TEI) * up_TEI * share_TE[..., None].to(up_TEI.dtype)
    summed_TD: Tensor = inner_TEI.flatten(1) @ experts.down_proj.transpose(1, 2).flatten(0, 1)
    return summed_TD
