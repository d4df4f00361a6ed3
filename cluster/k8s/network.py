"""Services of the gateways, and which pods may talk to which: what no rule allows is refused."""

from __future__ import annotations

from typing import Any

from cluster.config import ClusterConfig
from cluster.k8s.names import (
    COMPONENT,
    DASHBOARD_PORT,
    DNS_PORT,
    GATEWAY_SERVICE,
    HTTPS_PORTS,
    METRICS_PORT,
    NAME,
    PART_OF,
    REDIS_PORT,
    metadata,
    selector,
)
from cluster.k8s.redis import RAY_COMPONENT, SESSIONS_COMPONENT

# Namespaces whose pods may call the gateways, or read metrics, carry this label with the value true.
CLIENTS_LABEL, METRICS_LABEL = "gemma-cluster/clients", "gemma-cluster/metrics"
_RAY = {"matchExpressions": [{"key": COMPONENT, "operator": "In", "values": ["head", "gateway", "replicas"]}]}
_ALL = {"matchLabels": {PART_OF: NAME}}


def network(config: ClusterConfig) -> dict[str, dict[str, Any]]:
    """Objects by file."""
    port = config.gateway.port
    policies = {
        "default-deny": _policy(config, _ALL, ingress=[], egress=[]),
        "dns": _policy(config, _ALL, egress=[_to_dns()]),
        "gateway": _policy(config, _matching("gateway"), ingress=[_from_clients(port)]),
        "ray": _policy(config, _RAY, ingress=[{"from": [_pods(_RAY)]}], egress=[{"to": [_pods(_RAY)]}]),
        "operator": _policy(config, _matching("head"), ingress=[_from_operator()]),
        "metrics": _policy(config, _RAY, ingress=[_from_metrics()]),
        # Checkpoints from the hub, and the API server for the autoscaler: both have addresses that no label names.
        "https": _policy(config, _RAY, egress=[{"ports": _tcp(*HTTPS_PORTS)}]),
        "gcs-redis": _policy(config, _matching(RAY_COMPONENT), ingress=[_from_head()]),
        "to-gcs-redis": _policy(config, _matching("head"), egress=[_to_redis(RAY_COMPONENT)]),
    }
    if not config.kubernetes.redis.external_sessions:
        gateways = {"from": [_pods(_matching("gateway"))], "ports": _tcp(REDIS_PORT)}
        policies["sessions-redis"] = _policy(config, _matching(SESSIONS_COMPONENT), ingress=[gateways])
        policies["to-sessions-redis"] = _policy(config, _matching("gateway"), egress=[_to_redis(SESSIONS_COMPONENT)])
    else:
        anywhere = {"ports": _tcp(*config.kubernetes.redis.external_ports)}
        policies["to-sessions-redis"] = _policy(config, _matching("gateway"), egress=[anywhere])
    found = {f"network/{name}.yaml": _named(policy, name) for name, policy in policies.items()}
    found["gateway/service.yaml"] = _gateway_service(config, GATEWAY_SERVICE, {"type": "ClusterIP"})
    found["gateway/headless-service.yaml"] = _gateway_service(
        config, f"{GATEWAY_SERVICE}-headless", {"clusterIP": "None"}
    )
    return found


def _gateway_service(config: ClusterConfig, name: str, kind: dict[str, str]) -> dict[str, Any]:
    """Any gateway that says SERVING, of the old and of the new cluster while there are two."""
    protocol = "kubernetes.io/h2c" if config.kubernetes.certificates is None else "https"
    port = {"name": "grpc", "port": config.gateway.port, "targetPort": "serve-grpc", "appProtocol": protocol}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, config.kubernetes.namespace, "gateway"),
        "spec": {**kind, "selector": selector("gateway"), "ports": [port]},
    }


def _policy(
    config: ClusterConfig,
    pods: dict[str, Any],
    ingress: list[dict[str, Any]] | None = None,
    egress: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    spec: dict[str, Any] = {"podSelector": pods, "policyTypes": []}
    for kind, rules in (("Ingress", ingress), ("Egress", egress)):
        if rules is not None:
            spec["policyTypes"].append(kind)
            spec |= {kind.lower(): rules} if rules else {}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata("", config.kubernetes.namespace, "network"),
        "spec": spec,
    }


def _named(policy: dict[str, Any], name: str) -> dict[str, Any]:
    return {**policy, "metadata": {**policy["metadata"], "name": f"{NAME}-{name}"}}


def _matching(component: str) -> dict[str, Any]:
    return {"matchLabels": selector(component)}


def _pods(pods: dict[str, Any]) -> dict[str, Any]:
    return {"podSelector": pods}


def _tcp(*ports: int) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _to_dns() -> dict[str, Any]:
    ports = [{"protocol": protocol, "port": DNS_PORT} for protocol in ("UDP", "TCP")]
    return {
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
        "ports": ports,
    }


def _from_clients(port: int) -> dict[str, Any]:
    own = _pods({})
    labelled = {"namespaceSelector": {"matchLabels": {CLIENTS_LABEL: "true"}}}
    return {"from": [own, labelled], "ports": _tcp(port)}


def _from_operator() -> dict[str, Any]:
    operator = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
    }
    return {"from": [operator], "ports": _tcp(DASHBOARD_PORT)}


def _from_metrics() -> dict[str, Any]:
    return {"from": [{"namespaceSelector": {"matchLabels": {METRICS_LABEL: "true"}}}], "ports": _tcp(METRICS_PORT)}


def _from_head() -> dict[str, Any]:
    """And from the job that clears a deleted cluster's keys: KubeRay makes it of the head's template."""
    return {"from": [_pods(_matching("head"))], "ports": _tcp(REDIS_PORT)}


def _to_redis(component: str) -> dict[str, Any]:
    return {"to": [_pods(_matching(component))], "ports": _tcp(REDIS_PORT)}
