"""Compiled kernels are kept in the user's cache: compiling takes ten seconds, and 50 MB that are never given back.

So a process of its own compiles them, once for all that run on this machine: they share Numba's cache on disk.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import numba

logger = logging.getLogger(__name__)

_IMPORTS_ALL = "from model.kernels import loading; loading.decode_layers(); loading.int4_matmul()"
_PATIENCE_S = 300
# Set for the process that compiles: what it has to fill.
_FOLDER = "GEMMA_CLUSTER_KERNELS_FOLDER"


def compiled(signature: Any) -> Callable[[Callable[..., None]], Any]:
    """Numba's cfunc, read from the cache, or compiled here if that could not be filled."""

    def compile_function(function: Callable[..., None]) -> Any:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(_filled_folder())
        try:
            return numba.cfunc(signature, cache=True)(function)
        finally:
            numba.config.CACHE_DIR = before

    return compile_function


@cache
def _filled_folder() -> Path:
    if _FOLDER in os.environ:
        return Path(os.environ[_FOLDER])
    folder = _folder()
    marker = folder / "complete"
    with filelock.FileLock(folder / "lock"):
        if not marker.exists() and _fill(folder):
            marker.touch()
    return folder


def _fill(folder: Path) -> bool:
    logger.info("compiling kernels for this CPU, which takes ten seconds, once")
    environment = os.environ | {_FOLDER: str(folder), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        subprocess.run(
            [sys.executable, "-c", _IMPORTS_ALL], env=environment, capture_output=True, check=True, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("kernels could not be compiled ahead, so this process does it: %s", error)
        return False
    return True


def _folder() -> Path:
    """One for each version of the sources. Where the user has no folder for caches, one that only we can write to."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        root = Path(base) if base else Path.home() / ".cache"
        folder = root / "gemma-cluster" / "kernels" / _sources_digest()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):
        return Path(tempfile.mkdtemp(prefix="gemma-cluster-kernels-"))


def _sources_digest() -> str:
    """Numba looks at the source of a kernel itself for changes, not at what it calls."""
    digest = hashlib.sha256(f"{sys.version} {numba.__version__}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
