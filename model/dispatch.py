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


class Counts(NamedTuple):
    """How many rows leave for each rank's slots, and arrive from each rank for the slots here once `work` ends."""

    leaving_PS: Tensor
    arriving_PS: Tensor
    work: dist.Work


class Announced(NamedTuple):
    """Where each row comes from when they are sorted by expert; where each expert's end, if all are here (int32), or
    what travels, if they are not."""

    order_R: Tensor
    ends_X: Tensor | None = None
    counts: Counts | None = None


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
    """Brings tokens to the experts they chose and their answers back, in three steps."""

    def announce(self, experts_TK: Tensor) -> Announced:
        """Begins: counts go to where the rows will. Until `dispatch` there is time for something else."""
        ...

    def dispatch(self, x_TD: Tensor, announced: Announced) -> Dispatched:
        """One row per token and chosen expert, grouped by expert."""
        ...

    def combine(self, rows_RD: Tensor, dispatched: Dispatched, weights_TK: Tensor) -> Tensor:
        """The weighted sum of each token's rows, [T, D]."""
        ...


class LocalDispatcher:
    """All experts are here: dispatching is a stable sort by expert."""

    def __init__(self, num_experts: int) -> None:
        self._num_experts = num_experts

    def announce(self, experts_TK: Tensor) -> Announced:
        """See Dispatcher."""
        experts_R, order_R = experts_TK.flatten().sort(stable=True)
        bounds_X = torch.arange(self._num_experts, device=experts_TK.device)
        ends_X = torch.searchsorted(experts_R, bounds_X, right=True, out_int32=True)
        return Announced(order_R, ends_X)

    def dispatch(self, x_TD: Tensor, announced: Announced) -> Dispatched:
        """See Dispatcher."""
        assert announced.ends_X is not None
        return Dispatched(_rows(x_TD, announced), announced.ends_X, announced.order_R)

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
        self.counts_X = torch.zeros(placement.num_experts, dtype=torch.int64)
        self.place(placement)

    def place(self, placement: ExpertPlacement) -> None:
        """From the next pass on experts lie so, and `counts_X` counts anew how often tokens of this rank choose each.

        All ranks do this between the same two passes.
        """
        self.placement = placement
        self.counts_X.zero_()
        self._shape_PS = placement.num_ranks, placement.slots_per_rank
        # Copies share an expert's rows by turns, each rank beginning elsewhere. None: slots are numbered as experts.
        most = max(map(len, placement.copies))
        turned = [[slots[(self._rank + turn) % len(slots)] for turn in range(most)] for slots in placement.copies]
        self._slots_XC = None if placement.is_in_order else torch.tensor(turned)

    def announce(self, experts_TK: Tensor) -> Announced:
        """See Dispatcher."""
        slots_R, order_R = self._slots(experts_TK).flatten().sort(stable=True)
        num_ranks, num_slots = self._shape_PS
        leaving_PS = torch.bincount(slots_R, minlength=num_ranks * num_slots).view(num_ranks, num_slots)
        arriving_PS = torch.empty_like(leaving_PS)
        work = dist.all_to_all_single(arriving_PS, leaving_PS, group=self._group, async_op=True)
        assert work is not None
        return Announced(order_R, counts=Counts(leaving_PS, arriving_PS, work))

    def dispatch(self, x_TD: Tensor, announced: Announced) -> Dispatched:
        """See Dispatcher: the rows that chose an expert of this rank, whoever sent them."""
        assert announced.counts is not None
        rows_RD = _rows(x_TD, announced)
        leaving_PS, arriving_PS, work = announced.counts
        work.wait()
        sent, received = leaving_PS.sum(1).tolist(), arriving_PS.sum(1).tolist()
        rows_ND = self._exchange(rows_RD, sent, received)
        order_N, ends_S = _by_slot(arriving_PS), arriving_PS.sum(0).cumsum(0, dtype=torch.int32)
        rows_ND = rows_ND.index_select(0, order_N)
        return Dispatched(rows_ND, ends_S, announced.order_R, Exchange(sent, received, order_N))

    def combine(self, rows_ND: Tensor, dispatched: Dispatched, weights_TK: Tensor) -> Tensor:
        """See Dispatcher: the weighted sum of the answers to this rank's own tokens."""
        exchange = dispatched.exchange
        assert exchange is not None
        as_received_ND = _unsorted(rows_ND, exchange.order_N)
        rows_RD = self._exchange(as_received_ND, exchange.received, exchange.sent)
        return _weighted_sum(rows_RD, dispatched.order_R, weights_TK)

    def _slots(self, experts_TK: Tensor) -> Tensor:
        if self._slots_XC is None:
            return experts_TK
        self.counts_X = self.counts_X.to(experts_TK.device)
        self.counts_X += torch.bincount(experts_TK.flatten(), minlength=len(self.counts_X))
        self._slots_XC = self._slots_XC.to(experts_TK.device)
        turns_T1 = torch.arange(len(experts_TK), device=experts_TK.device)[:, None] % self._slots_XC.shape[1]
        return self._slots_XC[experts_TK, turns_T1]

    def _exchange(self, rows_ND: Tensor, sent: list[int], received: list[int]) -> Tensor:
        out_MD = rows_ND.new_empty(sum(received), rows_ND.shape[1])
        dist.all_to_all_single(out_MD, rows_ND, received, sent, group=self._group)
        return out_MD


def _rows(x_TD: Tensor, announced: Announced) -> Tensor:
    """Each token as often as it chose an expert, [R, D]."""
    top_k = max(1, len(announced.order_R) // max(1, len(x_TD)))
    return x_TD.index_select(0, announced.order_R // top_k)


def _by_slot(arriving_PS: Tensor) -> Tensor:
    """Rows come by rank, of each rank by slot; this is their order by slot, of each slot by rank."""
    num_ranks, num_slots = arriving_PS.shape
    slots = torch.arange(num_slots, device=arriving_PS.device).repeat(num_ranks)
    return slots.repeat_interleave(arriving_PS.flatten()).argsort(stable=True)


def _unsorted(rows_RD: Tensor, order_R: Tensor) -> Tensor:
    """Row r goes to place order_R[r]. Gathering by the inverse takes less time than scattering."""
    return rows_RD.index_select(0, order_R.argsort())


def _weighted_sum(rows_RD: Tensor, order_R: Tensor, weights_TK: Tensor) -> Tensor:
    by_token_TKD = _unsorted(rows_RD, order_R).view(*weights_TK.shape, rows_RD.shape[1])
    if rows_RD.dtype == weights_TK.dtype:
        return torch.bmm(weights_TK[:, None], by_token_TKD).squeeze(1)
    return (by_token_TKD * weights_TK[..., None]).sum(1).type_as(rows_RD)
