"""Every manifest that Kustomize makes: known fields alone, and what a careful cluster asks for."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.folders import BASE, FOLDERS, K8S, built, cluster, groups, name_of, one, pod_templates
from tests.k8s.schemas import errors, pod_template_errors

each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
_ACCOUNT = "gemma-cluster"


@each_folder
def test_every_field_is_known(folder: Path) -> None:
    assert [error for manifest in built(folder) for error in errors(manifest)] == []
    assert [error for template in pod_templates(folder).values() for error in pod_template_errors(template)] == []


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("RayService", ("spec", "rayClusterConfig")),
        ("RayService", ("spec", "rayClusterConfig", "headGroupSpec", "template", "spec")),
        ("PodMonitor", ("spec",)),
        ("PrometheusRule", ("spec",)),
        ("ServiceAccount", ()),
    ],
)
def test_the_schemas_are_strict(kind: str, path: tuple[str, ...]) -> None:
    manifest = copy.deepcopy(one(BASE, kind))
    place = manifest
    for part in path:
        place = place[part]
    place["unheardOf"] = 1
    assert any("unheardOf" in error for error in errors(manifest))


def test_one_object_a_file() -> None:
    for path in K8S.rglob("*.yaml"):
        assert len(list(yaml.safe_load_all(path.read_text()))) == 1, path


@each_folder
def test_names_are_unique_and_in_one_namespace(folder: Path) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in built(folder)]
    assert len(names) == len(set(names))
    for item in built(folder):
        assert item["kind"] == "Namespace" or item["metadata"]["namespace"] == "gemma-cluster"


@each_folder
def test_images_are_pinned(folder: Path) -> None:
    for name, template in pod_templates(folder).items():
        for container in template["spec"]["containers"]:
            assert re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+|.+@sha256:[0-9a-f]{64}", container["image"]), name


@each_folder
def test_every_container_asks_for_what_it_takes(folder: Path) -> None:
    containers = [container for pod in pod_templates(folder).values() for container in pod["spec"]["containers"]]
    for container in [*containers, cluster(folder)["autoscalerOptions"]]:
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


@each_folder
def test_nothing_is_root_or_writes_to_its_image(folder: Path) -> None:
    for name, template in pod_templates(folder).items():
        pod = template["spec"]["securityContext"]
        assert pod["runAsNonRoot"], name
        assert pod["runAsUser"] > 0, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
    containers = [container for pod in pod_templates(folder).values() for container in pod["spec"]["containers"]]
    for container in [*containers, cluster(folder)["autoscalerOptions"]]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}


@each_folder
def test_pods_get_an_account_without_rights(folder: Path) -> None:
    assert one(folder, "ServiceAccount")["automountServiceAccountToken"] is False
    assert not [item["kind"] for item in built(folder) if "Role" in item["kind"]]
    for name, template in pod_templates(folder).items():
        if name == "head":  # KubeRay makes one for the autoscaler beside it, if none is named
            assert "serviceAccountName" not in template["spec"]
        else:
            assert template["spec"]["serviceAccountName"] == _ACCOUNT
            assert template["spec"]["automountServiceAccountToken"] is False


@each_folder
def test_mounts_have_volumes_and_volumes_have_claims(folder: Path) -> None:
    claims = {item["metadata"]["name"] for item in built(folder) if item["kind"] == "PersistentVolumeClaim"}
    for name, template in pod_templates(folder).items():
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
        volumes |= {} if name in (*groups(folder), "head") else {"data": {}}  # a claim template
        for container in template["spec"]["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
        wanted = {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in volumes.values()
            if len(volume) > 1 and "persistentVolumeClaim" in volume
        }
        assert wanted <= claims


@each_folder
def test_selectors_find_pods(folder: Path) -> None:
    """Labels as KubeRay sets them, too."""
    labels = [_labels(name, template, folder) for name, template in pod_templates(folder).items()]
    for item in built(folder):
        selector = _selector(item)
        if selector is not None:
            matched = [pod for pod in labels if _matches(selector, pod)]
            assert matched, f"{item['kind']} {item['metadata']['name']} selects nothing"


def test_the_gateways_service_selects_gateways_of_any_cluster() -> None:
    for name in ("gemma-cluster-gateway", "gemma-cluster-gateway-headless"):
        selector = one(BASE, "Service", name)["spec"]["selector"]
        found = [
            pod for pod, template in pod_templates(BASE).items() if _matches(selector, template["metadata"]["labels"])
        ]
        assert found == ["gateways"]
        assert not [label for label in selector if label.startswith("ray.io/")]


@each_folder
def test_whatever_no_policy_allows_is_refused(folder: Path) -> None:
    spec = one(folder, "NetworkPolicy", "gemma-cluster-default-deny")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert not spec.keys() & {"ingress", "egress"}
    for name, template in pod_templates(folder).items():
        assert _matches(spec["podSelector"], template["metadata"]["labels"]), name


def test_only_gateways_reach_sessions_and_only_the_head_reaches_rays_state() -> None:
    for name, component in (("sessions-redis", "gateway"), ("gcs-redis", "head")):
        [rule] = one(BASE, "NetworkPolicy", f"gemma-cluster-{name}")["spec"]["ingress"]
        [peer] = rule["from"]
        assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == component


@each_folder
def test_budgets_let_one_pod_go(folder: Path) -> None:
    budgets = {
        item["metadata"]["name"]: item["spec"] for item in built(folder) if item["kind"] == "PodDisruptionBudget"
    }
    for name, group in groups(folder).items():
        budget = budgets.pop(f"gemma-cluster-{name}", None)
        if group["minReplicas"] > 1:
            assert budget is not None
            assert budget["minAvailable"] == group["minReplicas"] - 1
            assert budget["selector"]["matchLabels"] == {"ray.io/group": name}
        else:
            assert budget is None
    assert budgets == {}


def _labels(name: str, template: dict[str, Any], folder: Path) -> dict[str, str]:
    own: dict[str, str] = template["metadata"]["labels"]
    if name in groups(folder) or name == "head":
        kuberay = {"ray.io/is-ray-node": "yes", "ray.io/group": name}
        return own | kuberay
    return own


def _selector(item: dict[str, Any]) -> dict[str, Any] | None:
    spec = item.get("spec", {})
    found: dict[str, Any] | None = spec.get("selector") or spec.get("podSelector")
    return found


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    for rule in selector.get("matchExpressions", []):
        if rule["operator"] != "In" or labels.get(rule["key"]) not in rule["values"]:
            return False
    plain = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
    return labels.items() >= plain.items()
