"""Namespace, account, model cache and disruption budgets."""

from __future__ import annotations

from typing import Any

from cluster.config import ClusterConfig
from cluster.k8s.names import GATEWAY_GROUP, MODEL_CACHE, NAME, labels, metadata
from cluster.k8s.sizes import pod_counts


def basics(config: ClusterConfig) -> dict[str, dict[str, Any]]:
    """Objects by file."""
    return {
        "namespace.yaml": _namespace(config),
        "service-account.yaml": _service_account(config),
        "model-cache.yaml": _model_cache(config),
        **_disruption_budgets(config),
    }


def _namespace(config: ClusterConfig) -> dict[str, Any]:
    enforced = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": config.kubernetes.namespace, "labels": {**labels("namespace"), **enforced}},
    }


def _service_account(config: ClusterConfig) -> dict[str, Any]:
    """With no rights: no role is bound to it, and no pod gets its token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(NAME, config.kubernetes.namespace, "account"),
        "automountServiceAccountToken": False,
    }


def _model_cache(config: ClusterConfig) -> dict[str, Any]:
    """Filled by the first pod that needs a checkpoint; whoever comes later finds it there."""
    cache = config.kubernetes.model_cache
    spec: dict[str, Any] = {
        "accessModes": [cache.access],
        "resources": {"requests": {"storage": f"{cache.size_gib}Gi"}},
    }
    if cache.storage_class is not None:
        spec["storageClassName"] = cache.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(MODEL_CACHE, config.kubernetes.namespace, "model-cache"),
        "spec": spec,
    }


def _disruption_budgets(config: ClusterConfig) -> dict[str, dict[str, Any]]:
    """All pods of a group but one stay through a node's maintenance. A group of one would never let its node go."""
    counts = {GATEWAY_GROUP: config.gateway.replicas}
    counts |= {name: pod_counts(config, group)[0] for name, group in config.kubernetes.groups.items()}
    return {
        f"disruption-budgets/{name}.yaml": _disruption_budget(config, name, count - 1)
        for name, count in counts.items()
        if count > 1
    }


def _disruption_budget(config: ClusterConfig, group: str, least: int) -> dict[str, Any]:
    """Kubernetes knows no scale of a RayCluster, so it takes a number of pods that stay, and no percentage."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(f"{NAME}-{group}", config.kubernetes.namespace, "disruption-budget"),
        "spec": {"minAvailable": least, "selector": {"matchLabels": {"ray.io/group": group}}},
    }
