"""Valkey servers: one for sessions, one for Ray's own state, so that neither can fill the other's memory."""

from __future__ import annotations

from typing import Any

from cluster.config import ClusterConfig
from cluster.k8s.names import NAME, RAY_REDIS, REDIS_PORT, REDIS_SECRET, SESSIONS_REDIS, metadata, selector
from cluster.k8s.pods import confined, security

RAY_COMPONENT, SESSIONS_COMPONENT = "gcs-redis", "sessions-redis"
_RAY_MEMORY_MIB = 512
_BESIDE_DATA = 1.5  # of memory: buffers, and what is copied while the log is rewritten


def redis_servers(config: ClusterConfig) -> dict[str, dict[str, Any]]:
    """Objects by file. No server for sessions if they are kept elsewhere."""
    settings = config.kubernetes.redis
    found = _server(config, "gcs-redis", RAY_REDIS, RAY_COMPONENT, _RAY_MEMORY_MIB)
    if not settings.external_sessions:
        found |= _server(config, "sessions-redis", SESSIONS_REDIS, SESSIONS_COMPONENT, settings.memory_mib)
    if settings.insecure_password is not None:
        found["redis/secret.yaml"] = _secret(config, settings.insecure_password)
    return found


def server_arguments(memory_mib: int) -> list[str]:
    """Every write is on disk within a second, and nothing is thrown out: a full server says so."""
    return [
        "--dir",
        "/data",
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--maxmemory",
        f"{memory_mib}mb",
        "--maxmemory-policy",
        "noeviction",
        "--requirepass",
        "$(REDIS_PASSWORD)",
    ]


def _server(config: ClusterConfig, folder: str, name: str, component: str, memory_mib: int) -> dict[str, Any]:
    return {
        f"redis/{folder}-service.yaml": _service(config, name, component),
        f"redis/{folder}-statefulset.yaml": _stateful_set(config, name, component, memory_mib),
    }


def _service(config: ClusterConfig, name: str, component: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, config.kubernetes.namespace, component),
        "spec": {
            "clusterIP": "None",
            "selector": selector(component),
            "ports": [{"name": "redis", "port": REDIS_PORT, "targetPort": "redis"}],
        },
    }


def _stateful_set(config: ClusterConfig, name: str, component: str, memory_mib: int) -> dict[str, Any]:
    labels = metadata(name, "", component)["labels"]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(name, config.kubernetes.namespace, component),
        "spec": {
            "serviceName": name,
            "replicas": 1,
            "selector": {"matchLabels": selector(component)},
            "template": {"metadata": {"labels": labels}, "spec": _pod(config, memory_mib)},
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": f"{config.kubernetes.redis.storage_gib}Gi"}},
                    },
                }
            ],
        },
    }


def _pod(config: ClusterConfig, memory_mib: int) -> dict[str, Any]:
    return {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": security(),
        "containers": [
            {
                "name": "valkey",
                "image": config.kubernetes.images.redis,
                "imagePullPolicy": "IfNotPresent",
                "command": ["valkey-server"],
                "args": server_arguments(memory_mib),
                "env": [
                    {
                        "name": "REDIS_PASSWORD",
                        "valueFrom": {"secretKeyRef": {"name": REDIS_SECRET, "key": "password"}},
                    }
                ],
                "ports": [{"name": "redis", "containerPort": REDIS_PORT}],
                "securityContext": confined(),
                "resources": {
                    "requests": {"cpu": "250m", "memory": f"{round(memory_mib * _BESIDE_DATA)}Mi"},
                    "limits": {"memory": f"{round(memory_mib * _BESIDE_DATA)}Mi"},
                },
                # Of the port alone: while it loads its data it listens, and says so to whoever asks.
                "readinessProbe": {"tcpSocket": {"port": "redis"}, "periodSeconds": 5},
                "livenessProbe": {"tcpSocket": {"port": "redis"}, "periodSeconds": 10, "failureThreshold": 6},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
    }


def _secret(config: ClusterConfig, password: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(REDIS_SECRET, config.kubernetes.namespace, "redis"),
        "stringData": {"password": password, "url": f"redis://:{password}@{SESSIONS_REDIS}:{REDIS_PORT}/0"},
    }
