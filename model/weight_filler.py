"""Puts a checkpoint's tensors into a model built on "meta", one at a time: copied, quantised, or left in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from model.checkpoint import Checkpoint, CheckpointError
from model.embeddings import ScaledEmbedding
from model.quantization.rows import QuantizedRows
from model.quantization.stored import StoredWeights
from model.quantization.swap import QuantizedTensor
from model.weight_map import Piece, Pieces

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

Progress: TypeAlias = Callable[[int, int], None]


class WeightFiller:
    """Fills one model from one checkpoint. `progress` gets (bytes done, bytes in all) after each weight."""

    def __init__(
        self,
        model: nn.Module,
        checkpoint: Checkpoint,
        dtype: torch.dtype,
        device: torch.device,
        progress: Progress | None,
        *,
        maps_tables: bool,
    ) -> None:
        self._model, self._checkpoint = model, checkpoint
        self._dtype, self._device, self._maps_tables = dtype, device, maps_tables
        self._progress = progress or (lambda _done, _total: None)
        self._done = 0

    @torch.no_grad()
    def fill(self, weights: Mapping[str, Pieces], quantized: Mapping[str, QuantizedTensor]) -> None:
        """From float weights; those in `quantized` are quantised on the way in."""
        sizes = {name: self._num_bytes(name, pieces, name in quantized) for name, pieces in weights.items()}
        total = sum(sizes.values())
        for name, pieces in weights.items():
            if name in quantized:
                quantized[name].take(self._stored(pieces))
            elif not self._leave_in_file(name, pieces):
                self._assign(name, self._copied(pieces, self._ours(name).shape))
            self._advance(sizes[name], total)

    @torch.no_grad()
    def fill_stored(self, stored: StoredWeights) -> None:
        """From a checkpoint that holds quantised weights."""
        ours = self._model.state_dict()
        stored.check(ours)
        total = sum(tensor.nbytes for tensor in ours.values())
        for name, tensor in ours.items():
            owner, _ = self._owner(name)
            if isinstance(owner, QuantizedRows):
                owner.stay_in_file(stored.table(name))
            else:
                self._assign(name, stored.read(name, owner))
            self._advance(tensor.nbytes, total)

    def _leave_in_file(self, name: str, pieces: Pieces) -> bool:
        """A token's row is all that is read of an embedding, so it may stay in the file; True if it does.

        One that is a tied head too must have the model's type, as the head multiplies by it.
        """
        module, _ = self._owner(name)
        if not (isinstance(module, ScaledEmbedding) and self._maps_tables and self._device.type == "cpu"):
            return False
        table = self._checkpoint.table(pieces[0].name)
        _check_dtype(pieces[0].name, table.dtype)
        if module.is_head and table.dtype != self._dtype:
            return False
        module.stay_in_file(table, self._dtype)
        return True

    def _copied(self, pieces: Pieces, shape: torch.Size) -> Tensor:
        tensor = torch.empty(shape, dtype=self._dtype, device=self._device)
        for piece in pieces:
            view = view_of(tensor, piece)
            if piece.entries is None:
                view.copy_(self._read(piece.name))
            for place, entry in enumerate(piece.entries or ()):
                view[place].copy_(self._read(piece.name, entry))
        return tensor

    def _stored(self, pieces: Pieces) -> Tensor:
        """In the checkpoint's own type, on the CPU; a weight of one piece stays in the file."""
        tensors = [self._entries(piece) for piece in pieces]
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    def _entries(self, piece: Piece) -> Tensor:
        if piece.entries is None:
            return self._read(piece.name)
        return torch.stack([self._read(piece.name, entry) for entry in piece.entries])

    def _read(self, name: str, entry: int | None = None) -> Tensor:
        try:
            tensor = self._checkpoint.tensor(name) if entry is None else self._checkpoint.entry(name, entry)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{name} cannot be read: {error}") from error
        _check_dtype(name, tensor.dtype)
        return tensor

    def _assign(self, name: str, tensor: Tensor) -> None:
        owner, leaf = self._owner(name)
        is_buffer = leaf in dict(owner.named_buffers(recurse=False))
        setattr(owner, leaf, tensor if is_buffer else nn.Parameter(tensor, requires_grad=False))

    def _owner(self, name: str) -> tuple[nn.Module, str]:
        owner_name, _, leaf = name.rpartition(".")
        return self._model.get_submodule(owner_name), leaf

    def _ours(self, name: str) -> Tensor:
        owner, leaf = self._owner(name)
        tensor: Tensor = getattr(owner, leaf)
        return tensor

    def _num_bytes(self, name: str, pieces: Pieces, is_quantized: bool) -> int:
        """Before quantisation."""
        if not is_quantized:
            return self._ours(name).numel() * self._dtype.itemsize
        return sum(piece.num_elements for piece in pieces) * self._dtype.itemsize

    def _advance(self, size: int, total: int) -> None:
        self._done += size
        self._progress(self._done, total)


def view_of(tensor: Tensor, piece: Piece) -> Tensor:
    """The part of our tensor that a checkpoint's piece fills."""
    return tensor if piece.rows is None else tensor[piece.rows]


def _check_dtype(name: str, dtype: torch.dtype) -> None:
    if dtype not in DTYPES.values():
        raise CheckpointError(f"{name} is stored as {dtype}, expected one of {sorted(DTYPES)}")
