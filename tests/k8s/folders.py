"""The committed folders, and what Kustomize makes of them."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).parents[2] / "k8s"
BASE = K8S / "base"
OVERLAYS = sorted(path.parent for path in K8S.glob("overlays/*/cluster.yaml"))
FOLDERS = [BASE, *OVERLAYS]
_KUBECTL = Path(sys.executable).parent / "kubectl"


@cache
def built(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send, by the real Kustomize."""
    done = subprocess.run([_KUBECTL, "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def one(folder: Path, kind: str, name: str = "gemma-cluster") -> dict[str, Any]:
    """The object of that kind and name."""
    [found] = [item for item in built(folder) if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def cluster(folder: Path) -> dict[str, Any]:
    """The RayService's cluster."""
    found: dict[str, Any] = one(folder, "RayService")["spec"]["rayClusterConfig"]
    return found


def groups(folder: Path) -> dict[str, dict[str, Any]]:
    """Its worker groups by name."""
    return {group["groupName"]: group for group in cluster(folder)["workerGroupSpecs"]}


def pod_templates(folder: Path) -> dict[str, dict[str, Any]]:
    """Of everything that runs pods."""
    found = {name: group["template"] for name, group in groups(folder).items()}
    found["head"] = cluster(folder)["headGroupSpec"]["template"]
    stateful = [item for item in built(folder) if item["kind"] == "StatefulSet"]
    return found | {item["metadata"]["name"]: item["spec"]["template"] for item in stateful}


def name_of(folder: Path) -> str:
    """For a test's id."""
    return folder.relative_to(K8S).as_posix()
