"""One rank's part of a mixture of experts: a model that holds, and a loader that reads, those experts alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from torch import nn

from model.config import TextConfig
from model.dispatch import AllToAllDispatcher
from model.expert_placement import ExpertPlacement, PlacementError, first_placement
from model.moe import Experts, MixtureOfExperts
from model.weight_map import Pieces


@dataclass(frozen=True)
class ExpertShard:
    """What rank `rank` of `num_ranks` holds: its share, and copies of `num_copies` experts of other ranks."""

    rank: int
    num_ranks: int
    num_copies: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.num_ranks:
            raise PlacementError(f"rank {self.rank} is not one of {self.num_ranks} ranks, counted from 0")

    def placement(self, config: TextConfig) -> ExpertPlacement:
        """Where the experts of each layer lie at first. PlacementError if they cannot be spread so."""
        return first_placement(config, self.num_ranks, self.num_copies)

    def cut(self, model: nn.Module, weights: Mapping[str, Pieces], config: TextConfig) -> dict[str, Pieces]:
        """Gives an unfilled model room for this rank's experts alone; returns where they are in the checkpoint.

        Call it under the device the model was built under. PlacementError if so many ranks cannot share the experts.
        """
        held = self.placement(config).slots[self.rank]
        cut = dict(weights)
        for name, moe in mixtures(model):
            width, hidden_size = moe.experts.down.shape[2], moe.experts.down.shape[1]
            moe.experts = Experts(hidden_size, len(held), width)
            for weight in ("gate_up", "down"):
                key = f"{name}.experts.{weight}"
                cut[key] = tuple(replace(piece, entries=held) for piece in weights[key])
        return cut

    def connect(self, model: nn.Module, config: TextConfig) -> None:
        """Lets the layers reach the experts of all ranks, through the default process group, which is up."""
        placement = self.placement(config)
        for _, moe in mixtures(model):
            moe.dispatcher = AllToAllDispatcher(placement)


def expert_bytes(model: nn.Module) -> int:
    """Bytes of the experts that this model holds."""
    tensors = [tensor for _, moe in mixtures(model) for tensor in moe.experts.state_dict().values()]
    return sum(tensor.nbytes for tensor in tensors)


def mixtures(model: nn.Module) -> Iterator[tuple[str, MixtureOfExperts]]:
    """The mixtures of a model's layers, by name, in order."""
    for name, module in model.named_modules():
        if isinstance(module, MixtureOfExperts):
            yield name, module
