"""What to ask a cluster that was just started: commands to copy, whose answers the pocket family knows."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from cluster.checkpoints import POCKET_PREFIX, resolve_checkpoint
from cluster.client import DEFAULT_ADDRESS
from cluster.config import ClusterConfig
from model import pocket
from model.config import ModelConfig

_PACKAGE = Path(pocket.__path__[0])
PICTURE = _PACKAGE / "scenes/samples/red_circle.png"
CLIP = _PACKAGE / "speech/samples/digits-417.flac"
_COMMAND = "gemma-cluster"


def examples(config: ClusterConfig, address: str) -> list[str]:
    """A line of shell for each of text, image and audio that a pocket variant of the cluster takes."""
    names = [name for name in map(config.checkpoint_of, config.variants) if name.startswith(POCKET_PREFIX)]
    known = [ModelConfig.from_checkpoint(resolve_checkpoint(name, tokenizer_only=True)).modalities for name in names]
    taken = frozenset[str]().union(*known)
    at = "" if address == DEFAULT_ADDRESS else f" --address {address}"
    return [f"{_command()} ask {words}{at}" for modality, words in _questions() if modality in taken]


def _questions() -> Iterator[tuple[str, str]]:
    yield "text", "'Who are you?'"
    yield "image", f"'What is in this picture?' --image {_path(PICTURE)}"
    yield "audio", f"'What is said in this clip?' --audio {_path(CLIP)}"


def _command() -> str:
    """How this program was called, so that the same shell finds it again."""
    called = Path(sys.argv[0])
    if called.name != _COMMAND:
        return f"{shlex.quote(sys.executable)} -m cluster.cli"
    found = shutil.which(_COMMAND)
    return _COMMAND if found and Path(found).samefile(called) else _path(called)


def _path(path: Path) -> str:
    """Relative where that is shorter, quoted for a shell."""
    return shlex.quote(min(str(path), os.path.relpath(path), key=len))
