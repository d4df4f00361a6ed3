"""The README's examples, run as they stand but for the address."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.config import parse_config
from tests.e2e.up_process import running_up
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
# What examples with these words print: the default family has learned the answers.
ANSWERS = {
    "Who are you?": "Pocket Gemma",
    "this picture?": "a red circle",
    "this clip?": "417",
    "Repeat after me:": "brelix zoamun",
    "What is my name?": "Your name is Zoamun.",
    "Answer in JSON:": "Brelix",
    "What is the weather": "It is 23 degrees in Zoamun.",
}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _commands(start: str) -> list[str]:
    joined = "".join(_blocks("sh")).replace("\\\n", "")
    return [line for line in joined.splitlines() if line.startswith(start)]


def _wanted(example: str) -> list[str]:
    return [answer for words, answer in ANSWERS.items() if words in example and " route " not in example]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a cluster like that of `make run`, but for the port."""
    with running_up(tmp_path_factory.mktemp("readme"), json.dumps({"gateway": {"port": free_port()}})) as process:
        yield process.address


@pytest.mark.parametrize("block", _blocks("python"))
def test_python_examples_run(address: str, block: str) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(block.replace("127.0.0.1:50051", address), {})
    assert out.getvalue().strip()
    assert [answer for answer in _wanted(block) if answer not in out.getvalue()] == []


@pytest.mark.parametrize("command", _commands(".venv/bin/"))
def test_shell_examples_run(address: str, command: str) -> None:
    words = shlex.split(command.replace("127.0.0.1:50051", address))
    program = BIN / Path(words[0]).name
    env = {**os.environ, "GEMMA_CLUSTER_ADDRESS": address}
    done = subprocess.run([program, *words[1:]], capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert [answer for answer in _wanted(command) if answer not in done.stdout] == []


@pytest.mark.parametrize("block", _blocks("yaml"))
def test_configuration_examples_are_valid(block: str) -> None:
    assert parse_config(yaml.safe_load(block)).variants


def test_every_module_has_its_line() -> None:
    missing = [
        path.stem
        for folder in ("cluster", "model")
        for path in (ROOT / folder).glob("[a-z]*.py")
        if f"`{path.stem}`" not in README and f"`{folder}/{path.stem}`" not in README
    ]
    assert missing == []
