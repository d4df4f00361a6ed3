"""Folders for Kustomize: a base with every object, or an overlay with what is different from a base."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from cluster.k8s.yaml_text import yaml_text

Objects = dict[str, dict[str, Any]]
KUSTOMIZATION = "kustomization.yaml"


def base_files(objects: Objects) -> dict[str, str]:
    """File names and texts."""
    kustomization = _kustomization(resources=sorted(objects))
    return {name: yaml_text(content) for name, content in {**objects, KUSTOMIZATION: kustomization}.items()}


def overlay_files(objects: Objects, base: Objects, base_path: str) -> dict[str, str]:
    """With which Kustomize makes `objects` of `base`, which is at `base_path` from the overlay's folder."""
    new = {name: objects[name] for name in objects.keys() - base.keys()}
    patches: Objects = {}
    for name in sorted(base):
        if name not in objects:
            patches[name] = {**_identity(base[name]), "$patch": "delete"}
        elif objects[name] != base[name]:
            patches[name] = {**_identity(base[name]), **_difference(base[name], objects[name])}
    kustomization = _kustomization(resources=[base_path, *sorted(new)], patches=sorted(patches))
    return {name: yaml_text(content) for name, content in {**new, **patches, KUSTOMIZATION: kustomization}.items()}


def relative(base: Path, folder: Path) -> str:
    """As a kustomization names a folder."""
    return Path(os.path.relpath(base, folder)).as_posix()


def write(files: dict[str, str], folder: Path) -> list[str]:
    """Writes the files. Those that an earlier run wrote and this one does not are removed; returns their names."""
    stale = sorted(_listed(folder) - files.keys())
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return stale


def _listed(folder: Path) -> set[str]:
    """Files in the folder that its kustomization names: ours, and nobody else's."""
    path = folder / KUSTOMIZATION
    if not path.is_file():
        return set()
    old = yaml.safe_load(path.read_text(encoding="utf-8"))
    named = {*old.get("resources", []), *(patch["path"] for patch in old.get("patches", []))}
    return {name for name in named if (folder / name).is_file()}


def _kustomization(resources: list[str], patches: list[str] | None = None) -> dict[str, Any]:
    content: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
    }
    if patches:
        content["patches"] = [{"path": name} for name in patches]
    return content


def _identity(content: dict[str, Any]) -> dict[str, Any]:
    identity = {key: content["metadata"][key] for key in ("name", "namespace") if key in content["metadata"]}
    return {"apiVersion": content["apiVersion"], "kind": content["kind"], "metadata": identity}


def _difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """As a JSON merge patch: lists whole, null for what goes. Names and kinds stay."""
    changed: dict[str, Any] = dict.fromkeys(old.keys() - new.keys())
    for key, value in new.items():
        before = old.get(key)
        if value == before:
            continue
        changed[key] = _difference(before, value) if isinstance(value, dict) and isinstance(before, dict) else value
    return changed
