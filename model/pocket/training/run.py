"""One training run, which can be stopped and taken up again."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

_WARM_UP = 100
_LAST_SHARE = 0.02
_MAX_NORM = 1.0
_SAVE_EVERY_S = 120


class Learner(Protocol):
    """What can be trained: a torch module with losses, whose sum is lowered."""

    def losses(self, batch: Any) -> dict[str, Tensor]: ...

    def optimizers(self) -> list[Optimizer]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


def share_of_rate(step: int, steps: int) -> float:
    """What part of its highest learning rate an optimiser has at a step, counted from 0: soon all of it, then less
    along a cosine."""
    fall = _LAST_SHARE + (1 - _LAST_SHARE) * (1 + math.cos(math.pi * step / steps)) / 2
    return min(1.0, (step + 1) / _WARM_UP) * fall


class Run:
    """Learner, optimisers and the step reached; `file` keeps all of them."""

    def __init__(self, learner: Learner, steps: int, stream: Dataset[Any], file: Path) -> None:
        self._learner, self._steps, self._stream, self._file = learner, steps, stream, file
        self._optimizers = learner.optimizers()
        self._rates = [group["lr"] for group in self._groups()]
        self.step = 0
        if file.exists():
            self._resume()

    def steps(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Trains to the end, telling each step's number and losses."""
        saved_at = time.monotonic()
        for batch in self._batches():
            losses = self._learn(batch)
            self.step += 1
            if time.monotonic() - saved_at > _SAVE_EVERY_S or self.step == self._steps:
                self.save()
                saved_at = time.monotonic()
            yield self.step, losses

    def _batches(self) -> Iterator[Any]:
        """Made by another process, a few steps ahead."""
        yield from DataLoader(
            self._stream,
            batch_size=None,
            sampler=range(self.step, self._steps),
            num_workers=1,
            prefetch_factor=4,
            worker_init_fn=_keep_to_one_thread,
        )

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def _learn(self, batch: Any) -> dict[str, float]:
        losses = self._learner.losses(batch)
        torch.autograd.backward(sum(losses.values(), torch.tensor(0.0)))
        groups = self._groups()
        torch.nn.utils.clip_grad_norm_([weight for group in groups for weight in group["params"]], _MAX_NORM)
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate * share_of_rate(self.step, self._steps)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return {name: loss.item() for name, loss in losses.items()}

    def save(self) -> None:
        """Keeps everything that the run needs to go on."""
        state = {
            "model": self._learner.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "step": self.step,
        }
        part = self._file.with_suffix(".part")
        torch.save(state, part)
        part.replace(self._file)

    def _resume(self) -> None:
        state = torch.load(self._file, weights_only=True)
        self._learner.load_state_dict(state["model"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]


def _keep_to_one_thread(_worker: int) -> None:
    """NumPy's threads would wait for each other on the cores that train: ears learned half as fast."""
    threadpool_limits(1)
