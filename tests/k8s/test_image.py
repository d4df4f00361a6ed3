"""The image: locked, not root, and of what the manifests say. Nothing here builds it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cluster.config.kubernetes import Images
from cluster.k8s.pods import USER
from tests.k8s.folders import K8S

ROOT = K8S.parent
DOCKERFILE = (K8S / "image/Dockerfile").read_text()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
BASE_INSTALL = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def _locked(path: Path) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package."""
    found = re.findall(
        r"^([\w.-]+)(?:\[[^]]*\])?==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})*)", path.read_text(), re.M
    )
    return {canonicalize_name(name): (version, hashes.count("sha256")) for name, version, hashes in found}


def _torch_of(target: str) -> dict[str, tuple[str, int]]:
    """The CPU's torch is not in its lock: the Dockerfile has it by version, from PyTorch's own index."""
    stage = DOCKERFILE.split(f" AS build-{target}\n")[1].split("\nFROM ")[0]
    versions = re.findall(r"--torch-backend=cpu --no-deps torch==(\S+)$", stage, re.M)
    return {"torch": (versions[0], 1)} if versions else {}


@pytest.mark.parametrize(("target", "extras"), [("cpu", ["server"]), ("cuda", ["server", "vllm"])])
def test_the_lock_has_what_the_project_asks_for_with_hashes(target: str, extras: list[str]) -> None:
    """After a change of pyproject.toml, lock again as k8s/README.md says."""
    locked = _locked(K8S / f"image/{target}.lock") | _torch_of(target)
    asked = [Requirement(line) for line in [*BASE_INSTALL, *(line for extra in extras for line in EXTRAS[extra])]]
    for requirement in [*asked, Requirement("setuptools>=77")]:
        if requirement.name != "gemma-cluster":
            version, _ = locked[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement
    assert all(hashes for _, hashes in locked.values())


def test_stages_come_from_pinned_images_and_end_without_root() -> None:
    bases = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.M)
    assert [re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base) is not None for base in bases] == [True]
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M)
    assert len(stages) == DOCKERFILE.count("\nFROM ")
    known = {"${BASE}"}
    for source, name in stages:
        assert source in known, source
        known.add(name)
    for target in ("cpu", "cuda"):
        stage = DOCKERFILE.split(f" AS {target}\n")[1].split("\nFROM ")[0]
        assert f"USER {USER}:{USER}" in stage


def test_only_locked_packages_are_installed() -> None:
    for line in re.findall(r"^RUN .*pip install .*$", DOCKERFILE, re.M):
        assert "--no-deps" in line
        assert "--require-hashes" in line or line.endswith("--no-build-isolation .") or "--torch-backend" in line


def test_the_image_for_cpus_has_nothing_of_cuda() -> None:
    of_cuda = re.compile(r"nvidia|cuda|triton|torch")
    assert not [name for name in _locked(K8S / "image/cpu.lock") if of_cuda.search(name)]
    assert [name for name in _locked(K8S / "image/cuda.lock") if of_cuda.search(name)]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = re.findall(r"^!(.*)$", (K8S / "image/Dockerfile.dockerignore").read_text(), re.M)
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M):
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert any(Path(name).match(pattern) for pattern in kept), name


def test_the_manifests_name_both_targets() -> None:
    images = Images()
    for target, image in (("cpu", images.cpu), ("cuda", images.cuda)):
        assert f"--target {target}" in DOCKERFILE
        assert f"-t {image} ." in DOCKERFILE
