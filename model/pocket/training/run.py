"""One training run: first the encoders by themselves, then everything; can be stopped and taken up again."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from model.pocket.training.batch import Batch
from model.pocket.training.network import Network
from model.pocket.training.stream import BatchStream

_WARM_UP = 100
_LAST_RATE = 0.02
_MAX_NORM = 1.0
_ENCODER_WEIGHT = 0.5
_SAVE_EVERY_S = 120


@dataclass(frozen=True)
class Schedule:
    """`encoder_steps` come first. `rate` is the highest learning rate, reached soon and lowered along a cosine."""

    encoder_steps: int
    steps: int
    rate: float

    def rate_at(self, step: int) -> float:
        """Each of the two phases has its own rise and fall."""
        is_first = step < self.encoder_steps
        at, total = (step, self.encoder_steps) if is_first else (step - self.encoder_steps, self.steps)
        fall = _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * at / total)) / 2
        return self.rate * min(1.0, (at + 1) / _WARM_UP) * fall

    @property
    def total(self) -> int:
        return self.encoder_steps + self.steps


class Run:
    """Network, optimiser and the step reached; `file` keeps all three."""

    def __init__(self, network: Network, schedule: Schedule, stream: BatchStream, file: Path) -> None:
        self._network, self._schedule, self._stream, self._file = network, schedule, stream, file
        weights = [weight for weight in network.gemma.parameters() if weight.requires_grad]
        matrices = [weight for weight in weights if weight.dim() >= 2]
        vectors = [weight for weight in weights if weight.dim() < 2]
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.98))
        self._weights = weights
        self.step = 0
        if file.exists():
            self._resume()

    def steps(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Trains to the end, telling each step's number and losses."""
        saved_at = time.monotonic()
        for batch in self._batches():
            losses = self._learn(batch)
            self.step += 1
            if time.monotonic() - saved_at > _SAVE_EVERY_S or self.step == self._schedule.total:
                self.save()
                saved_at = time.monotonic()
            yield self.step, losses

    def _batches(self) -> Iterator[Batch]:
        """Made by another process, one step ahead."""
        remaining = range(self.step, self._schedule.total)
        yield from DataLoader(self._stream, batch_size=None, sampler=remaining, num_workers=1, prefetch_factor=4)

    def _learn(self, batch: Batch) -> dict[str, float]:
        is_first = self.step < self._schedule.encoder_steps
        losses = self._network.encoder_losses(batch) if is_first else self._network.losses(batch)
        torch.autograd.backward(self._total(losses, is_first))
        torch.nn.utils.clip_grad_norm_(self._weights, _MAX_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.rate_at(self.step)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return {name: loss.item() for name, loss in losses.items()}

    @staticmethod
    def _total(losses: dict[str, Tensor], is_first: bool) -> Tensor:
        weight = 1.0 if is_first else _ENCODER_WEIGHT
        return sum((loss * (1.0 if name == "text" else weight) for name, loss in losses.items()), torch.tensor(0.0))

    def save(self) -> None:
        """Keeps everything that the run needs to go on."""
        state = {
            "model": self._network.gemma.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
        }
        part = self._file.with_suffix(".part")
        torch.save(state, part)
        part.replace(self._file)

    def _resume(self) -> None:
        state = torch.load(self._file, weights_only=True)
        self._network.gemma.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
