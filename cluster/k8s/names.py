"""Names, labels and ports that several manifests share."""

from __future__ import annotations

from typing import Any

NAME = "gemma-cluster"
GATEWAY_SERVICE = "gemma-cluster-gateway"
SESSIONS_REDIS, RAY_REDIS = "gemma-cluster-sessions", "gemma-cluster-gcs"
REDIS_SECRET, HUB_SECRET = "gemma-cluster-redis", "gemma-cluster-hub"
GATEWAY_CERTIFICATE, CLIENT_CERTIFICATE = "gemma-cluster-gateway-tls", "gemma-cluster-client-tls"
MODEL_CACHE = "gemma-cluster-models"
GATEWAY_GROUP = "gateways"
# Of a Ray node: replicas and gateways ask for it (label selectors), and the autoscaler adds pods of that group.
GROUP_LABEL = "gemma-cluster/group"
PART_OF, COMPONENT = "app.kubernetes.io/part-of", "app.kubernetes.io/component"

METRICS_PORT = 8080
DASHBOARD_PORT = 8265
GCS_PORT = 6379
AGENT_PORT = 52365
REDIS_PORT = 6379
DNS_PORT = 53
HTTPS_PORTS = (443, 6443)


def labels(component: str) -> dict[str, str]:
    """Of an object or a pod."""
    return {"app.kubernetes.io/name": NAME, PART_OF: NAME, COMPONENT: component}


def selector(component: str) -> dict[str, str]:
    """Finds the pods of a component, whichever cluster they belong to: KubeRay names the old and the new one apart."""
    return {PART_OF: NAME, COMPONENT: component}


def metadata(name: str, namespace: str, component: str) -> dict[str, Any]:
    """Of a namespaced object."""
    return {"name": name, "namespace": namespace, "labels": labels(component)}
