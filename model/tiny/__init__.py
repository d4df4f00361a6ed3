"""The tiny family: random checkpoints of Gemma 4's structure, small enough to build in a second."""

from model.tiny.checkpoint import ensure_tiny, write_tiny
from model.tiny.family import TINY_VARIANTS

__all__ = ["TINY_VARIANTS", "ensure_tiny", "write_tiny"]
