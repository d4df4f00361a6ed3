"""Brings tokens to the experts they chose and the answers back: experts that are all here, or spread over ranks.

Shapes: T tokens, D hidden, X experts, K experts per token, R = T*K rows sorted by expert; P ranks, S slots of a rank
(each holds one expert), N rows that arrive at this rank.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from model.expert_placement import ExpertPlacement


class Exchange(NamedTuple):
    """How many rows went to and came from each rank, and the order by slot of those that came."""

    sent: list[int]
    received: list[int]
    order_N: Tensor


class Dispatched(NamedTuple):
    """Rows for the experts of this rank, sorted by expert: `ends_X` (int32) is where each expert's end.

    `order_R` says where each row that left came from, `exchange` how the rows travelled, if they did.
    """

    rows_RD: Tensor
    ends_X: Tensor
    order_R: Tensor
    exchange: Exchange | None = None


class Dispatcher(Protocol):
    """Brings tokens to the experts they chose and their answers back."""

    def dispatch(self, x_TD: Tensor, experts_TK: Tensor) -> Dispatched:
        """One row per token and chosen expert, grouped by expert."""
        ...

    def combine(self, rows_RD: Tensor, dispatched: Dispatched, weights_TK: Tensor) -> Tensor:
        """The weighted sum of each token's rows, [T, D]."""
        ...


class LocalDispatcher:
    """All experts are here: dispatching is a stable sort by expert."""

    def __init__(self, num_experts: int) -> None:
        self._num_experts = num_experts

    def dispatch(self, x_TD: Tensor, experts_TK: Tensor) -> Dispatched:
        """See Dispatcher."""
        experts_R, order_R = experts_TK.flatten().sort(stable=True)
        bounds_X = torch.arange(self._num_experts, device=x_TD.device)
        ends_X = torch.searchsorted(experts_R, bounds_X, right=True, out_int32=True)
        return Dispatched(x_TD[order_R // experts_TK.shape[1]], ends_X, order_R)

    def combine(self, rows_RD: Tensor, dispatched: Dispatched, weights_TK: Tensor) -> Tensor:
        """See Dispatcher."""
        return _weighted_sum(rows_RD, dispatched.order_R, weights_TK)


class AllToAllDispatcher:
    """Experts lie where `placement` says, rank p being p of the group. Equal to LocalDispatcher row by row.

    All ranks dispatch and combine together, those without tokens too. Counts travel first, so that no more rows
    follow than there are (as in torchtitan's and Megatron's mixtures of experts).
    """

    def __init__(self, placement: ExpertPlacement, group: dist.ProcessGroup | None = None) -> None:
        """`group` None is the default group; ValueError if it has not the placement's number of ranks."""
        self._group, self._rank = group, dist.get_rank(group)
        if dist.get_world_size(group) != placement.num_ranks:
            raise ValueError(f"a placement over {placement.num_ranks} ranks, {dist.get_world_size(group)} of them here")
        self.place(placement)

    def place(self, placement: ExpertPlacement) -> None:
        """From the next pass on experts lie so. All ranks do this between the same two passes."""
        self._shape_PS = placement.num_ranks, placement.slots_per_rank
        # Copies share an expert's rows by turns, each rank beginning elsewhere; None: there is one of each.
        most = max(map(len, placement.copies))
        turned = [[slots[(self._rank + turn) % len(slots)] for turn in range(most)] for slots in placement.copies]
        self._slots_XC = torch.tensor(turned)

    def dispatch(self, x_TD: Tensor, experts_TK: Tensor) -> Dispatched:
        """See Dispatcher: the rows that chose an expert of this rank, whoever sent them."""
        slots_R, order_R = self._slots(experts_TK).flatten().sort(stable=True)
        num_ranks, num_slots = self._shape_PS
        leaving_PS = torch.bincount(slots_R, minlength=num_ranks * num_slots).view(num_ranks, num_slots)
        arriving_PS = torch.empty_like(leaving_PS)
        dist.all_to_all_single(arriving_PS, leaving_PS, group=self._group)
        sent, received = leaving_PS.sum(1).tolist(), arriving_PS.sum(1).tolist()
        rows_ND = self._exchange(x_TD[order_R // experts_TK.shape[1]], sent, received)
        order_N, ends_S = _by_slot(arriving_PS), arriving_PS.sum(0).cumsum(0, dtype=torch.int32)
        return Dispatched(rows_ND[order_N], ends_S, order_R, Exchange(sent, received, order_N))

    def combine(self, rows_ND: Tensor, dispatched: Dispatched, weights_TK: Tensor) -> Tensor:
        """See Dispatcher: the weighted sum of the answers to this rank's own tokens."""
        exchange = dispatched.exchange
        assert exchange is not None
        as_received_ND = torch.empty_like(rows_ND)
        as_received_ND[exchange.order_N] = rows_ND
        rows_RD = self._exchange(as_received_ND, exchange.received, exchange.sent)
        return _weighted_sum(rows_RD, dispatched.order_R, weights_TK)

    def _slots(self, experts_TK: Tensor) -> Tensor:
        if self._slots_XC.device != experts_TK.device:
            self._slots_XC = self._slots_XC.to(experts_TK.device)
        if self._slots_XC.shape[1] == 1:
            return self._slots_XC[:, 0][experts_TK]
        turns_T1 = torch.arange(len(experts_TK), device=experts_TK.device)[:, None] % self._slots_XC.shape[1]
        return self._slots_XC[experts_TK, turns_T1]

    def _exchange(self, rows_ND: Tensor, sent: list[int], received: list[int]) -> Tensor:
        out_MD = rows_ND.new_empty(sum(received), rows_ND.shape[1])
        dist.all_to_all_single(out_MD, rows_ND, received, sent, group=self._group)
        return out_MD


def _by_slot(arriving_PS: Tensor) -> Tensor:
    """Rows come by rank, of each rank by slot; this is their order by slot, of each slot by rank."""
    num_ranks, num_slots = arriving_PS.shape
    slots = torch.arange(num_slots, device=arriving_PS.device).repeat(num_ranks)
    return slots.repeat_interleave(arriving_PS.flatten()).argsort(stable=True)


def _weighted_sum(rows_RD: Tensor, order_R: Tensor, weights_TK: Tensor) -> Tensor:
    unsorted_RD = torch.empty_like(rows_RD)
    unsorted_RD[order_R] = rows_RD
    by_token_TKD = unsorted_RD.view(*weights_TK.shape, rows_RD.shape[1])
    return (by_token_TKD * weights_TK[..., None]).sum(1).type_as(rows_RD)
