"""llama.cpp as a side of a benchmark, in an environment of its own.

`python -m venv .venv-llama && .venv-llama/bin/pip install llama-cpp-python gguf` compiles it for the CPU at hand, which
takes some minutes. On a CPU with AMX gcc 12 makes a build that crashes, unless it compiles without: CMAKE_ARGS with
CMAKE_C_FLAGS and CMAKE_CXX_FLAGS of -mno-amx-tile -mno-amx-int8 -mno-amx-bf16. Clang 14 makes one that works, with
CMAKE_C_COMPILER=clang, CMAKE_CXX_COMPILER=clang++ and, as flags, -D__AMX_INT8__ -D__AMX_TILE__: its own names of these
differ.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_OWN = Path(".venv-llama/bin/python")


def find_python() -> str | None:
    """The interpreter that has llama-cpp-python: $LLAMA_PYTHON, that of .venv-llama, or None."""
    if os.environ.get("LLAMA_PYTHON"):
        return os.environ["LLAMA_PYTHON"]
    return str(_OWN.absolute()) if _OWN.exists() else None


class LlamaSide:
    """Random Q4_0 weights of a model's shape in llama.cpp, as llama-cpp-python runs it by default."""

    def __init__(self, python: str, config: Path, folder: Path) -> None:
        """`config` is the model's config.json; `folder` is for the weights."""
        self._python, self._path = python, folder / "random.gguf"
        self._run("random_gguf.py", config, self._path)

    def measure(self, prompt_tokens: int, new_tokens: int, threads: int) -> dict[str, Any]:
        """Tokens/s of prefill and of decode, and the most memory ever resident."""
        printed = self._run("llama_worker.py", self._path, prompt_tokens, new_tokens, threads)
        return dict(json.loads(printed))

    def _run(self, script: str, *arguments: object) -> str:
        command = [self._python, str(HERE / script), *map(str, arguments)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
