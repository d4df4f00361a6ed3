"""One training run, which can be stopped and taken up again."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

_WARM_UP = 100
_LAST_RATE = 0.02
_MAX_NORM = 1.0
_SAVE_EVERY_S = 120


class Learner(Protocol):
    """What can be trained: a torch module with losses, whose sum is lowered."""

    def losses(self, batch: Any) -> dict[str, Tensor]: ...

    def parameters(self) -> Iterator[Any]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


@dataclass(frozen=True)
class Schedule:
    """`rate` is the highest learning rate, reached soon and lowered along a cosine."""

    steps: int
    rate: float

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        fall = _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.rate * min(1.0, (step + 1) / _WARM_UP) * fall


class Run:
    """Learner, optimiser and the step reached; `file` keeps all three."""

    def __init__(self, learner: Learner, schedule: Schedule, stream: Dataset[Any], file: Path) -> None:
        self.schedule, self._learner, self._stream, self._file = schedule, learner, stream, file
        self._weights = [weight for weight in learner.parameters() if weight.requires_grad]
        matrices = [weight for weight in self._weights if weight.dim() >= 2]
        vectors = [weight for weight in self._weights if weight.dim() < 2]
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.98))
        self.step = 0
        if file.exists():
            self._resume()

    def steps(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Trains to the end, telling each step's number and losses."""
        saved_at = time.monotonic()
        for batch in self._batches():
            losses = self._learn(batch)
            self.step += 1
            if time.monotonic() - saved_at > _SAVE_EVERY_S or self.step == self.schedule.steps:
                self.save()
                saved_at = time.monotonic()
            yield self.step, losses

    def _batches(self) -> Iterator[Any]:
        """Made by another process, a few steps ahead."""
        remaining = range(self.step, self.schedule.steps)
        yield from DataLoader(self._stream, batch_size=None, sampler=remaining, num_workers=1, prefetch_factor=4)

    def _learn(self, batch: Any) -> dict[str, float]:
        losses = self._learner.losses(batch)
        torch.autograd.backward(sum(losses.values(), torch.tensor(0.0)))
        torch.nn.utils.clip_grad_norm_(self._weights, _MAX_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = self.schedule.rate_at(self.step)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return {name: loss.item() for name, loss in losses.items()}

    def save(self) -> None:
        """Keeps everything that the run needs to go on."""
        state = {
            "model": self._learner.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
        }
        part = self._file.with_suffix(".part")
        torch.save(state, part)
        part.replace(self._file)

    def _resume(self) -> None:
        state = torch.load(self._file, weights_only=True)
        self._learner.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
