"""Mixture of experts in three steps that stay apart: route, dispatch to experts, combine.

The dispatcher is the seam where experts may live elsewhere: see model/dispatch.py.
Shapes: T tokens, D hidden, X experts, K experts per token, F expert width, R = T*K rows sorted by expert,
I and O input and output size of a weight.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import MoeConfig, TextConfig
from model.dispatch import Announced, Dispatcher, LocalDispatcher
from model.layers import Layer, Linear, RMSNorm, gelu_gate, noise, rms_norm, scalar

# Elements: copying a weight for every row costs less than a call for every expert up to here.
_GATHERED = 1 << 20


class Routing(NamedTuple):
    """Each token's chosen experts and the weight of each, both [T, K]; weights are float32."""

    experts_TK: Tensor
    weights_TK: Tensor


class Routed(NamedTuple):
    """Tokens on their way to experts, and the weights [T, K] of what these will say."""

    announced: Announced
    weights_TK: Tensor


class Router(Layer):
    """Chooses experts from the un-normed residual: own norm, learned scale, softmax over all experts."""

    def __init__(self, hidden_size: int, moe: MoeConfig, eps: float) -> None:
        super().__init__()
        self._top_k, self._eps = moe.top_k, eps
        self._root: float = hidden_size**-0.5
        self.scale = nn.Parameter(torch.ones(hidden_size))
        self.projection = Linear(hidden_size, moe.num_experts)
        self.per_expert_scale = nn.Parameter(torch.ones(moe.num_experts))

    def forward(self, x_TD: Tensor) -> Routing:
        """The top-k experts per token; their probabilities renormalised to 1, then scaled per expert."""
        scores_TX = self.projection(rms_norm(x_TD, self.scale, self._eps) * scalar(self._root))
        # A softmax over the chosen scores is the softmax over all, renormalised over the chosen.
        chosen_TK, experts_TK = scores_TX.topk(self._top_k, dim=-1)
        weights_TK = chosen_TK.softmax(-1, dtype=torch.float32)
        return Routing(experts_TK, weights_TK * self.per_expert_scale[experts_TK])


class Experts(Layer):
    """X gated MLPs, held as two packed weights, applied to rows sorted by expert."""

    def __init__(self, hidden_size: int, num_experts: int, expert_size: int) -> None:
        super().__init__()
        self.gate_up = noise(num_experts, 2 * expert_size, hidden_size)
        self.down = noise(num_experts, hidden_size, expert_size)

    def forward(self, rows_RD: Tensor, ends_X: Tensor) -> Tensor:
        """[R, D] -> [R, D], rows of expert x being ends_X[x-1] .. ends_X[x]."""
        hidden_RF = gelu_gate(_grouped_linear(rows_RD, self.gate_up, ends_X))
        return _grouped_linear(hidden_RF, self.down, ends_X)

    @torch.no_grad()
    def replace(self, index: int, gate_up_OI: Tensor, down_OI: Tensor) -> None:
        """Puts another expert in the place of one."""
        self.gate_up[index].copy_(gate_up_OI)
        self.down[index].copy_(down_OI)


def _grouped_linear(rows_RI: Tensor, weight_XOI: Tensor, ends_X: Tensor) -> Tensor:
    """Each group of rows through its own expert's weight, [R, I] -> [R, O]."""
    is_small = rows_RI.is_cpu and len(rows_RI) * weight_XOI[0].numel() <= _GATHERED
    return (_by_gather if is_small else _by_kernel)(rows_RI, weight_XOI, ends_X)


def _by_kernel(rows_RI: Tensor, weight_XOI: Tensor, ends_X: Tensor) -> Tensor:
    return F.grouped_mm(rows_RI, weight_XOI.transpose(-2, -1), offs=ends_X)


def _by_gather(rows_RI: Tensor, weight_XOI: Tensor, ends_X: Tensor) -> Tensor:
    """The same for few rows or small experts, where the CPU's grouped kernel spends its time on calls."""
    experts_R = torch.searchsorted(ends_X, torch.arange(len(rows_RI), device=rows_RI.device), right=True)
    weight_RIO = weight_XOI.transpose(1, 2).index_select(0, experts_R)
    return torch.bmm(rows_RI[:, None], weight_RIO).squeeze(1)


class MixtureOfExperts(Layer):
    """The routed half of a MoE layer's feed-forward: router, experts, and the norms around them."""

    def __init__(self, config: TextConfig, moe: MoeConfig) -> None:
        super().__init__()
        hidden_size, eps = config.hidden_size, config.rms_norm_eps
        self.router = Router(hidden_size, moe, eps)
        self.pre_norm = RMSNorm(hidden_size, eps)
        self.experts = Experts(hidden_size, moe.num_experts, moe.expert_size)
        self.post_norm = RMSNorm(hidden_size, eps)
        self.dispatcher: Dispatcher = LocalDispatcher(moe.num_experts)

    def announce(self, x_TD: Tensor) -> Routed:
        """Chooses experts for the un-normed residual [T, D]; until `answer` there is time for something else."""
        routing = self.router(x_TD)
        return Routed(self.dispatcher.announce(routing.experts_TK), routing.weights_TK)

    def answer(self, x_TD: Tensor, routed: Routed) -> Tensor:
        """What the experts chosen for the same residual make of it, [T, D]."""
        dispatched = self.dispatcher.dispatch(self.pre_norm(x_TD), routed.announced)
        rows_RD = self.experts(dispatched.rows_RD, dispatched.ends_X)
        out_TD: Tensor = self.post_norm(self.dispatcher.combine(rows_RD, dispatched, routed.weights_TK))
        return out_TD
