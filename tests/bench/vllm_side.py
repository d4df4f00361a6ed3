"""vLLM as a side of a benchmark, in a process and an environment of its own."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.bench.workload import Timed, Workload

HERE = Path(__file__).parent
_OWN = Path(".venv-vllm/bin/python")


def find_python() -> str | None:
    """The interpreter that has vLLM: $VLLM_PYTHON, that of .venv-vllm, this one, or None."""
    if os.environ.get("VLLM_PYTHON"):
        return os.environ["VLLM_PYTHON"]
    if _OWN.exists():
        return str(_OWN.absolute())
    return sys.executable if importlib.util.find_spec("vllm") else None


class VllmSide:
    """A checkpoint in a vLLM engine, without prefix cache. The first token's time is that of answers of one token."""

    def __init__(self, python: str, path: Path, dtype: str, batch: int, threads: int) -> None:
        command = [python, str(HERE / "vllm_worker.py"), str(path), dtype, str(batch)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(python, threads)
        )
        assert self._read() == {"ready": True}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def answer(self, workload: Workload) -> Timed:
        """See Side."""
        first = self._ask(workload.prompts, [1] * len(workload.prompts))
        whole = self._ask(workload.prompts, workload.num_tokens)
        num_decoded = sum(workload.num_tokens) - len(workload.prompts)
        return Timed(whole["answers"], first["seconds"], whole["seconds"] - first["seconds"], num_decoded)

    def _ask(self, prompts: list[list[int]], num_tokens: list[int]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"prompts": prompts, "num_tokens": num_tokens}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("vLLM's process ended; its standard error says why")
        return dict(json.loads(line))


def environment(python: str, threads: int) -> dict[str, str]:
    paths = [] if _imports_torchvision(python) else [str(HERE / "vllm_site")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(threads),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
    }


def _imports_torchvision(python: str) -> bool:
    return subprocess.run([python, "-c", "import torchvision"], capture_output=True, check=False).returncode == 0
