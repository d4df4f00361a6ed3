"""Writes a tiny checkpoint folder, complete as Hugging Face would publish it, and keeps one in the user's cache."""

import os
import shutil
import tempfile
from pathlib import Path

import filelock

from model.checkpoint_files import generation_config, processor_config, write_json
from model.config import ModelConfig
from model.tiny.encoders import encoder_shapes
from model.tiny.family import TINY_VARIANTS
from model.tiny.random_weights import random_model, random_tensor
from model.tiny.tokenizer import build_tokenizer, tokenizer_config
from model.weights import save_checkpoint

# Part of the cache's path: raise it with any change to what is written.
FORMAT_VERSION = 5
_TEMPLATE = Path(__file__).parent.parent / "chat_template.jinja"


def write_tiny(variant: str, path: Path) -> None:
    """Writes one variant into the folder `path`, replacing what is there; the same bytes at every call.

    The folder appears complete or not at all. ValueError for an unknown variant.
    """
    config = _config(variant)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        written = Path(scratch) / "new"
        _write_files(variant, config, written)
        if path.exists():
            path.rename(Path(scratch) / "old")
        written.rename(path)


def ensure_tiny(variant: str, cache_dir: Path | None = None) -> Path:
    """The folder of one variant, written at the first call. Several processes may ask at once.

    `cache_dir` defaults to gemma-cluster/tiny in the user's cache ($XDG_CACHE_HOME, else ~/.cache).
    """
    _config(variant)
    root = (cache_dir or _user_cache()) / f"v{FORMAT_VERSION}"
    path = root / variant
    root.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(root / f"{variant}.lock"):
        if not path.exists():
            write_tiny(variant, path)
    return path


def _config(variant: str) -> ModelConfig:
    if variant not in TINY_VARIANTS:
        raise ValueError(f"unknown variant {variant!r}, expected one of {', '.join(TINY_VARIANTS)}")
    return TINY_VARIANTS[variant]


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gemma-cluster" / "tiny"


def _write_files(variant: str, config: ModelConfig, path: Path) -> None:
    encoders = {name: random_tensor(f"{variant}/{name}", shape) for name, shape in encoder_shapes(config).items()}
    save_checkpoint(random_model(variant, config), config, path, encoders)
    write_json(path / "generation_config.json", generation_config(config))
    build_tokenizer().save(str(path / "tokenizer.json"))
    write_json(path / "tokenizer_config.json", tokenizer_config(config.text.max_position_embeddings))
    write_json(path / "processor_config.json", processor_config(config))
    shutil.copyfile(_TEMPLATE, path / "chat_template.jinja")
    for file in path.iterdir():  # some are written for their owner alone
        file.chmod(0o644)
