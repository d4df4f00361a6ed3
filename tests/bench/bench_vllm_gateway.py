"""vLLM behind our gateway against vLLM's own OpenAI server: one checkpoint, one load, the same engine arguments.

Both live in `.venv-vllm` (or $VLLM_PYTHON's environment) and are measured in turns. The checkpoint has E2B's structure
at a width that keeps the CPU at arithmetic: what is compared is what a server adds to its engine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import yaml

from model.tiny import checkpoint as tiny
from model.tiny.encoders import encoder_shapes
from model.tiny.family import TINY_E2B
from model.tiny.random_weights import random_model, random_tensor
from model.weights import save_checkpoint
from tests.bench.figure import Figure
from tests.bench.vllm_side import environment, find_python
from tests.ports import free_port

STREAMS, TOKENS, ROUNDS, REPEATS = 8, 32, 3, 3
BATCH, CONTEXT, START_S = 16, 1024, 300
_ROOT = Path(__file__).parents[2]
_CONFIG = replace(TINY_E2B, text=replace(TINY_E2B.text, hidden_size=768, mlp_size=3072, num_heads=8))


def run() -> Iterator[Figure]:
    """The best of each side's repeats: other processes only ever slow one down."""
    python = find_python()
    if python is None:
        print("  skipped: no vLLM here; `make .venv-vllm/installed` gets it, or set VLLM_PYTHON", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = _write(Path(folder) / "wide")
        sides = {
            "ours": stack.enter_context(_gateway(python, path, Path(folder))),
            "openai": stack.enter_context(_openai(python, path)),
        }
        found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for _ in range(REPEATS):
            for side, address in sides.items():
                found[side].append(_load(side, address, "e2b"))
                print(f"  {side}: " + ", ".join(f"{key} {value:,.1f}" for key, value in found[side][-1].items()))
    rates = {side: max(sample["tokens_per_s"] for sample in samples) for side, samples in found.items()}
    firsts = {side: min(sample["ttft_ms"] for sample in samples) for side, samples in found.items()}
    yield Figure("vllm_gateway_vs_openai_tokens_per_s", rates["ours"] / rates["openai"], ">=", 0.95)
    yield Figure("vllm_gateway_vs_openai_ttft", firsts["ours"] / firsts["openai"], "<=", 1.05)


def _write(path: Path) -> Path:
    tiny.write_tiny("e2b", path)
    encoders = {name: random_tensor(name, shape) for name, shape in encoder_shapes(_CONFIG).items()}
    save_checkpoint(random_model("bench", _CONFIG), _CONFIG, path, encoders)
    return path


def _load(side: str, address: str, model: str) -> dict[str, float]:
    numbers = [str(value) for value in (STREAMS, TOKENS, ROUNDS)]
    command = [sys.executable, "-m", "tests.bench.gemma_load", side, address, model, *numbers]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600).stdout
    return dict(json.loads(output))


@contextmanager
def _gateway(python: str, path: Path, folder: Path) -> Iterator[str]:
    """`gemma-cluster up` with one vLLM replica."""
    port = free_port()
    variant = {
        "engine": "vllm",
        "checkpoint": str(path),
        "max_batch_size": BATCH,
        "max_context_tokens": CONTEXT,
        "num_threads": 1,
        "dtype": "float32",
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"variants": {"e2b": variant}, "gateway": {"port": port}}))
    command = [python, "-m", "cluster.cli", "up", "--config", str(config)]
    with _process(command, python, {"RAY_AUTH_MODE": "disabled"}, "gemma-cluster is ready"):
        yield f"127.0.0.1:{port}"


@contextmanager
def _openai(python: str, path: Path) -> Iterator[str]:
    """vLLM's own server, with the arguments that our engine gives it."""
    port = free_port()
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(path)]
    command += ["--served-model-name", "e2b", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--dtype", "float32", "--max-model-len", str(CONTEXT), "--generation-config", "vllm"]
    command += ["--max-num-seqs", str(BATCH), "--enforce-eager", "--max-num-batched-tokens", "4096"]
    command += ["--disable-uvicorn-access-log"]
    with _process(command, python, {}, None) as process:
        _wait(f"http://127.0.0.1:{port}/health", process)
        yield f"127.0.0.1:{port}"


@contextmanager
def _process(
    command: list[str], python: str, env: dict[str, str], ready: str | None
) -> Iterator[subprocess.Popen[str]]:
    output = subprocess.PIPE if ready else subprocess.DEVNULL
    variables = environment(python, threads=1) | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"} | env
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [variables["PYTHONPATH"], str(_ROOT)]))
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True, env=variables)
    try:
        if ready:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if ready in line:
                    break
            else:
                raise RuntimeError("".join(lines))
        yield process
    finally:
        process.terminate()
        process.wait(timeout=120)


def _wait(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None:
        try:
            httpx.get(url, timeout=5).raise_for_status()
            return
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
    raise RuntimeError(f"{' '.join(map(str, process.args))} ended with {process.returncode}")
