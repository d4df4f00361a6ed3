"""Finds the folder of a checkpoint: pocket:<variant>, tiny:<variant>, a folder, or a Hugging Face repository."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from cluster.config import VARIANT_NAMES
from model import pocket
from model.checkpoint import CheckpointError

POCKET_PREFIX = "pocket:"
POCKET_CHECKPOINTS = Path(pocket.__path__[0]) / "checkpoints"
TINY_PREFIX = "tiny:"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_FILES_OF_A_GATEWAY = [
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*processor_config.json",
    "model.safetensors.index.json",
]
_FILES_OF_A_REPLICA = [*_FILES_OF_A_GATEWAY, "*.safetensors"]
_OTHER_FORMATS = ["*/*", "consolidated*"]


def resolve_checkpoint(name: str, *, tokenizer_only: bool = False) -> Path:
    """The checkpoint's folder on this machine; made or downloaded if it must be, else found in the cache.

    With `tokenizer_only` no weights are downloaded: enough for routing and for building prompts. Raises
    CheckpointError that says what to do.
    """
    if name.startswith(TINY_PREFIX):
        return _tiny(name.removeprefix(TINY_PREFIX))
    if name.startswith(POCKET_PREFIX):
        return _checked(name, _pocket(name.removeprefix(POCKET_PREFIX)), needs_weights=not tokenizer_only)
    folder = Path(name).expanduser()
    path = folder if _is_folder(name, folder) else _download(name, tokenizer_only)
    return _checked(name, path, needs_weights=not tokenizer_only)


def check_checkpoint(name: str) -> None:
    """Raises CheckpointError for a name that is wrong as far as this machine's folders tell; downloads nothing."""
    folder = Path(name).expanduser()
    if name.startswith(POCKET_PREFIX):
        resolve_checkpoint(name, tokenizer_only=True)
    elif not name.startswith(TINY_PREFIX) and _is_folder(name, folder):
        _checked(name, folder, needs_weights=False)


def _tiny(variant: str) -> Path:
    from model.tiny import ensure_tiny  # not at the top: it imports torch

    try:
        return ensure_tiny(variant)
    except ValueError as error:
        raise CheckpointError(f"checkpoint {TINY_PREFIX}{variant}: {error}") from error
    except OSError as error:
        raise CheckpointError(f"checkpoint {TINY_PREFIX}{variant} cannot be written: {error}") from error


def _pocket(variant: str) -> Path:
    """The folder that comes with the package."""
    if variant not in VARIANT_NAMES:
        raise CheckpointError(f"checkpoint {POCKET_PREFIX}{variant}: no such variant; use {', '.join(VARIANT_NAMES)}")
    folder = POCKET_CHECKPOINTS / variant
    if not folder.is_dir():
        raise CheckpointError(
            f"checkpoint {POCKET_PREFIX}{variant}: there is no folder {folder}; install gemma-cluster anew, or "
            "configure another family, such as tiny"
        )
    return folder


def _is_folder(name: str, folder: Path) -> bool:
    """False for a repository's id; an error for what can be neither."""
    if folder.is_dir():
        return True
    if folder.exists():
        raise CheckpointError(f"checkpoint {name} is a file; give the folder it is in")
    if not _REPOSITORY.fullmatch(name):
        raise CheckpointError(f"checkpoint {name}: no such folder, nor a Hugging Face repository (owner/name)")
    if folder.parent.is_dir():
        raise CheckpointError(f"checkpoint {name}: {folder.parent.resolve()} has no folder {folder.name}")
    return False


def _download(repository: str, tokenizer_only: bool) -> Path:
    """Raises CheckpointError; a repository that is complete in the cache needs no network."""
    try:
        folder = snapshot_download(
            repository,
            allow_patterns=_FILES_OF_A_GATEWAY if tokenizer_only else _FILES_OF_A_REPLICA,
            ignore_patterns=_OTHER_FORMATS,
        )
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise CheckpointError(f"checkpoint {repository}: {_advice(repository, error)}") from error
    return Path(folder)


def _advice(repository: str, error: Exception) -> str:
    """What went wrong, and what to do."""
    page = f"{constants.ENDPOINT}/{repository}"
    match error:
        case GatedRepoError():
            return f"access is gated; accept the licence at {page} and set HF_TOKEN to a token of that account"
        case RepositoryNotFoundError():
            return f"{page} does not exist, or is private; check the name, and set HF_TOKEN if it is private"
        case HFValidationError():
            return "that is no Hugging Face repository (owner/name)"
        case IncompleteSnapshotError():
            return f"the cached copy is not complete and {constants.ENDPOINT} cannot be reached"
        case LocalEntryNotFoundError():
            return (
                f"it is not in the cache and {constants.ENDPOINT} cannot be reached; connect, or download it elsewhere "
                "and give its folder as the checkpoint"
            )
        case HfHubHTTPError() if error.response.status_code in (401, 403):
            return f"{page} refuses access; set HF_TOKEN to a token that may read it"
    return f"the download failed: {error}"


def _checked(name: str, path: Path, *, needs_weights: bool) -> Path:
    if not (path / "config.json").is_file():
        raise CheckpointError(f"checkpoint {name}: {path} has no config.json, so it is no Hugging Face checkpoint")
    if needs_weights and not any(path.glob("*.safetensors")):
        raise CheckpointError(f"checkpoint {name}: {path} has no *.safetensors weights")
    return path
