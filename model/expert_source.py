"""Single experts of a checkpoint, read while the model runs. Shapes: D hidden, F expert width."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from model.checkpoint import Checkpoint, CheckpointError
from model.config import ModelConfig
from model.weight_map import weight_map
from model.weights import find_prefix


class ExpertSource:
    """Keeps the checkpoint's files mapped until it is closed."""

    def __init__(self, path: Path) -> None:
        self._checkpoint = Checkpoint(path)
        config = ModelConfig.from_checkpoint(path).text
        self._names = {
            name: pieces[0].name for name, pieces in weight_map(config, find_prefix(self._checkpoint)).items()
        }

    def read(self, layer: int, expert: int) -> tuple[Tensor, Tensor]:
        """Its fused gate and up weights [2F, D], and its down weight [D, F], as stored.

        CheckpointError if they cannot be read.
        """
        experts = f"blocks.{layer}.feed_forward.moe.experts."
        gate_up, down = (self._entry(self._names[experts + weight], expert) for weight in ("gate_up", "down"))
        return gate_up, down

    def close(self) -> None:
        """Unmap the files."""
        self._checkpoint.close()

    def _entry(self, name: str, expert: int) -> Tensor:
        try:
            return self._checkpoint.entry(name, expert)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"expert {expert} of {name} cannot be read: {error}") from error
