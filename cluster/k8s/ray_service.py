"""The RayService: Ray's head, a group of gateways, a group for each kind of hardware, and what Serve runs on them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import yaml

from cluster.app import APP_NAME
from cluster.config import ClusterConfig
from cluster.config.kubernetes import WorkerGroup
from cluster.k8s.certificates import gateway_tls, mount_certificate
from cluster.k8s.names import (
    DASHBOARD_PORT,
    GATEWAY_GROUP,
    GCS_PORT,
    GROUP_LABEL,
    NAME,
    RAY_REDIS,
    REDIS_PORT,
    REDIS_SECRET,
    metadata,
)
from cluster.k8s.pods import confined, draining_end, ray_container, ray_pod, raylet_probe, resources, waiting_end
from cluster.k8s.sizes import pod_counts, pod_memory_gib

_OBJECT_STORE_BYTES = 256 * 1024 * 1024  # requests travel by gRPC; the object store holds next to nothing
_NODE_IDLE_S = 300


def ray_service(config: ClusterConfig) -> dict[str, Any]:
    """A change of serveConfigV2 is made in place; one of rayClusterConfig makes a second cluster, and a switch."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": metadata(NAME, config.kubernetes.namespace, "cluster"),
        "spec": {
            "upgradeStrategy": {"type": "NewCluster"},
            # Until then both clusters serve: time to see that the new one does. Then the old one's gateways drain.
            "rayClusterDeletionDelaySeconds": 60,
            "excludeHeadPodFromServeSvc": True,
            # KubeRay makes it, and counts its endpoints; clients use the gateways' own.
            "serveService": {"spec": {"ports": [_grpc_port(config)]}},
            "serveConfigV2": yaml.safe_dump(serve_config(config), sort_keys=False),
            "rayClusterConfig": _cluster(config),
        },
    }


def serve_config(config: ClusterConfig) -> dict[str, Any]:
    """What `serve deploy` would take."""
    return {
        # Callers come to the gateways' own gRPC servers.
        "proxy_location": "Disabled",
        "applications": [
            {
                "name": APP_NAME,
                "route_prefix": None,
                "import_path": "cluster.app:build_app",
                "args": {"app_name": APP_NAME, "config": _placed(config)},
            }
        ],
    }


def _placed(config: ClusterConfig) -> dict[str, Any]:
    """The configuration with every deployment on the pods of its group; what is at its default is left out."""
    settings = config.model_dump(mode="json", exclude_unset=True, exclude={"kubernetes"})
    gateway = settings.get("gateway", {})
    settings["gateway"] = {
        **gateway,
        **gateway_tls(config),
        "host": "0.0.0.0",
        "node_labels": _on(GATEWAY_GROUP, config.gateway.node_labels),
    }
    homes = {name: group for group, found in config.kubernetes.groups.items() for name in found.variants}
    explicit = settings.get("variants", {})
    settings["variants"] = {
        name: {**explicit.get(name, {}), "node_labels": _on(homes[name], variant.node_labels)}
        for name, variant in config.variants.items()
    }
    return settings


def _on(group: str, labels: dict[str, str]) -> dict[str, str]:
    return {**labels, GROUP_LABEL: group}


def _grpc_port(config: ClusterConfig) -> dict[str, Any]:
    return {
        "name": "serve-grpc",
        "port": config.gateway.port,
        "targetPort": config.gateway.port,
        "appProtocol": "kubernetes.io/h2c" if config.kubernetes.certificates is None else "https",
    }


def _cluster(config: ClusterConfig) -> dict[str, Any]:
    return {
        "rayVersion": _ray_release(),
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "idleTimeoutSeconds": _NODE_IDLE_S,
            "upscalingMode": "Default",
            "securityContext": confined(),
            "resources": resources(1, 1),
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        },
        # A head that dies comes back with what it knew; replicas and gateways serve on meanwhile.
        "gcsFaultToleranceOptions": {
            "backend": "redis",
            "redisAddress": f"redis://{RAY_REDIS}:{REDIS_PORT}",
            "redisPassword": {"valueFrom": {"secretKeyRef": {"name": REDIS_SECRET, "key": "password"}}},
        },
        "headGroupSpec": _head(config),
        "workerGroupSpecs": [
            _gateways(config),
            *(_workers(config, name, group) for name, group in config.kubernetes.groups.items()),
        ],
    }


def _ray_release() -> str:
    """What KubeRay goes by; it knows no patches apart."""
    major, minor, *_ = version("ray").split(".")
    return f"{major}.{minor}.0"


def _head(config: ClusterConfig) -> dict[str, Any]:
    settings = config.kubernetes
    ports = {"gcs": GCS_PORT, "dashboard": DASHBOARD_PORT}
    size = resources(settings.head.cpus, settings.head.memory_gib)
    container = ray_container("ray-head", settings.images.cpu, size, ports)
    container["lifecycle"] = waiting_end(config)
    template = ray_pod(config, "head", container)
    # KubeRay makes a ServiceAccount for the autoscaler beside the head, and gives it the rights it needs.
    del template["spec"]["serviceAccountName"], template["spec"]["automountServiceAccountToken"]
    # No CPUs, no work: whatever needs one goes to the groups.
    start = {**_start_params(), "num-cpus": "0", "dashboard-host": "0.0.0.0"}
    return {"rayStartParams": start, "template": template}


def _gateways(config: ClusterConfig) -> dict[str, Any]:
    settings, port = config.kubernetes, config.gateway.port
    size = resources(settings.gateways.cpus, settings.gateways.memory_gib)
    container = ray_container("ray-worker", settings.images.cpu, size, {"serve-grpc": port})
    certificates = settings.certificates
    container["readinessProbe"] = {
        "grpc": {"port": port if certificates is None else certificates.health_port},
        "periodSeconds": 2,
        "timeoutSeconds": 2,
        "failureThreshold": 2,
    }
    container["lifecycle"] = draining_end(config)
    template = ray_pod(config, "gateway", container)
    template["spec"]["topologySpreadConstraints"] = [_spread_over_nodes()]
    if certificates is not None:
        mount_certificate(template["spec"], certificates.health_port)
    return _group(GATEWAY_GROUP, config.gateway.replicas, config.gateway.max_replicas, template)


def _spread_over_nodes() -> dict[str, Any]:
    selector = metadata(NAME, "", "gateway")["labels"]
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector},
    }


def _workers(config: ClusterConfig, name: str, group: WorkerGroup) -> dict[str, Any]:
    images = config.kubernetes.images
    size = resources(group.cpus, pod_memory_gib(config, group), group.gpus)
    container = ray_container("ray-worker", images.cuda if group.gpus else images.cpu, size, {})
    container["readinessProbe"] = raylet_probe()
    container["lifecycle"] = waiting_end(config)
    # Ranks on GPUs pass what they share through /dev/shm.
    template = ray_pod(config, "replicas", container, shm_gib=8 if group.gpus else 1)
    if group.node_selector:
        template["spec"]["nodeSelector"] = group.node_selector
    if group.gpus:
        template["spec"]["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    least, most = pod_counts(config, group)
    return _group(name, least, most, template)


def _group(name: str, least: int, most: int, template: dict[str, Any]) -> dict[str, Any]:
    return {
        "groupName": name,
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": most,
        "labels": {GROUP_LABEL: name},
        "rayStartParams": _start_params(),
        "template": template,
    }


def _start_params() -> dict[str, str]:
    return {"object-store-memory": str(_OBJECT_STORE_BYTES), "metrics-export-port": "8080"}
