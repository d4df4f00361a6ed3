"""Pods of Ray nodes: who they run as, what they may write to, how they are probed and how they end."""

from __future__ import annotations

import math
from typing import Any

from cluster.config import ClusterConfig
from cluster.k8s.names import (
    AGENT_PORT,
    HUB_SECRET,
    METRICS_PORT,
    MODEL_CACHE,
    NAME,
    REDIS_SECRET,
    labels,
)

USER = 10001
_MODELS = "/models"
# After the drain: Ray's own end, and what a busy node is late by.
_SLACK_S = 30


def security() -> dict[str, Any]:
    """Of a pod: nobody in particular, and not root."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def confined() -> dict[str, Any]:
    """Of a container: it gets no more rights, and writes to its volumes alone."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def drain_s(config: ClusterConfig) -> int:
    """Seconds from the end of a gateway's pod, or of its cluster, until its last call has ended."""
    return math.ceil(config.gateway.drain_notice_s + config.gateway.drain_grace_s)


def ray_pod(config: ClusterConfig, component: str, container: dict[str, Any], *, shm_gib: int = 1) -> dict[str, Any]:
    """A pod template around the one container that Ray runs in."""
    spec: dict[str, Any] = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": drain_s(config) + _SLACK_S,
        "securityContext": security(),
        "containers": [container],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shm_gib}Gi"}},
            {"name": "models", "persistentVolumeClaim": {"claimName": MODEL_CACHE}},
        ],
    }
    return {"metadata": {"labels": labels(component)}, "spec": spec}


def ray_container(name: str, image: str, resources: dict[str, Any], ports: dict[str, int]) -> dict[str, Any]:
    """KubeRay adds the command, the liveness probe and what Ray needs of the environment."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": confined(),
        "resources": resources,
        "ports": [
            {"name": port, "containerPort": number} for port, number in {**ports, "metrics": METRICS_PORT}.items()
        ],
        "env": _environment(),
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "models", "mountPath": _MODELS},
        ],
    }


def resources(cpus: int, memory_gib: int, gpus: int = 0) -> dict[str, Any]:
    """All of it guaranteed: Ray plans with what is asked for, and memory above it would be another pod's."""
    wanted: dict[str, str] = {"cpu": str(cpus), "memory": f"{memory_gib}Gi"}
    if gpus:
        wanted["nvidia.com/gpu"] = str(gpus)
    return {"requests": wanted, "limits": dict(wanted)}


def raylet_probe() -> dict[str, Any]:
    """Ready while Ray's node is: replicas are reached through Ray, not through a Service."""
    return {
        "httpGet": {"path": "/api/healthz", "port": AGENT_PORT},
        "periodSeconds": 5,
        "timeoutSeconds": 2,
        "failureThreshold": 3,
    }


def waiting_end(config: ClusterConfig) -> dict[str, Any]:
    """Replicas, and the head, stay while gateways of a cluster that is taken away finish their calls."""
    return {"preStop": {"sleep": {"seconds": drain_s(config)}}}


def draining_end(config: ClusterConfig) -> dict[str, Any]:
    """A gateway's: its health says NOT_SERVING, clients get a GOAWAY, and its calls end, before Ray is told to."""
    address = f"localhost:{config.gateway.port}"
    return {"preStop": {"exec": {"command": ["gemma-cluster", "drain", "--address", address]}}}


def _environment() -> list[dict[str, Any]]:
    plain = {
        # Nothing but volumes can be written to.
        "HOME": "/tmp",
        "HF_HOME": f"{_MODELS}/huggingface",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    return [
        *({"name": name, "value": value} for name, value in plain.items()),
        _from_secret("REDIS_URL", REDIS_SECRET, "url"),
        _from_secret("HF_TOKEN", HUB_SECRET, "token", optional=True),
    ]


def _from_secret(name: str, secret: str, key: str, *, optional: bool = False) -> dict[str, Any]:
    reference: dict[str, Any] = {"name": secret, "key": key}
    if optional:
        reference["optional"] = True
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}
