"""`gemma-cluster k8s render`: a folder of manifests from a configuration, or an error with its line."""

from __future__ import annotations

from pathlib import Path

from cluster.config import ClusterConfig, ConfigError, load_config
from cluster.k8s.basics import basics
from cluster.k8s.certificates import certificates
from cluster.k8s.check import problems
from cluster.k8s.dashboard import dashboard
from cluster.k8s.kustomize import Objects, base_files, overlay_files, relative, write
from cluster.k8s.lines import line_of
from cluster.k8s.monitoring import monitoring
from cluster.k8s.network import network
from cluster.k8s.ray_service import ray_service
from cluster.k8s.redis import redis_servers

CONFIG = "cluster.yaml"


def render(config_path: Path, output: Path, base: Path | None = None) -> tuple[int, list[str]]:
    """Writes manifests for Kustomize into `output`: how many files, and which old ones it removed.

    With `base`, a folder that was rendered from the cluster.yaml in it, an overlay over that. Raises ConfigError
    with a line for each problem, before anything is written.
    """
    config = read(config_path)
    files = base_files(manifests(config)) if base is None else _overlay(config, config_path, base, output)
    return len(files), write(files, output)


def _overlay(config: ClusterConfig, config_path: Path, base: Path, output: Path) -> dict[str, str]:
    below = read(base / CONFIG)
    if config.kubernetes.namespace != below.kubernetes.namespace:
        raise ConfigError(
            f"{config_path}: kubernetes.namespace: an overlay cannot move what is in {below.kubernetes.namespace}; "
            "leave it as the base has it, or set `namespace` in a kustomization.yaml of your own above both"
        )
    return overlay_files(manifests(config), manifests(below), relative(base, output))


def read(path: Path) -> ClusterConfig:
    """A configuration that can be laid on the hardware it names. Raises ConfigError."""
    config = load_config(path)
    text = path.read_text(encoding="utf-8")
    if found := problems(config):
        lines = [f"{path}:{line_of(text, item.path)}: {'.'.join(item.path)}: {item.message}" for item in found]
        raise ConfigError("\n".join(lines))
    return config


def manifests(config: ClusterConfig) -> Objects:
    """Every object, by the file it is written to."""
    return {
        **basics(config),
        "ray-service.yaml": ray_service(config),
        **redis_servers(config),
        **network(config),
        **certificates(config),
        **monitoring(config),
        **dashboard(config),
    }
