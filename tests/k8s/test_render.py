"""`gemma-cluster k8s render`: committed folders are what it writes, and what cannot run is refused with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cluster.cli import app
from cluster.k8s.kustomize import KUSTOMIZATION, base_files
from cluster.k8s.lines import line_of
from cluster.k8s.render import manifests, read, render
from tests.k8s.folders import BASE, FOLDERS, K8S, built, name_of


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_committed_manifests_are_what_is_rendered(folder: Path, tmp_path: Path) -> None:
    """`gemma-cluster k8s render --config DIR/cluster.yaml --output DIR`, for overlays with `--base k8s/base`."""
    again = tmp_path / "k8s" / folder.relative_to(BASE.parent)
    base = None if folder == BASE else BASE
    render(folder / "cluster.yaml", again, base)
    assert _files(folder) - {"cluster.yaml"} == _files(again)
    for name in _files(again) - {KUSTOMIZATION}:
        assert (folder / name).read_text() == (again / name).read_text(), name
    # The path to the base depends on where the folder is.
    said = (again / KUSTOMIZATION).read_text()
    assert (folder / KUSTOMIZATION).read_text() == re.sub(r"^- \.\./.*", "- ../../base", said, flags=re.MULTILINE)


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_kustomize_makes_the_objects_of_the_configuration(folder: Path) -> None:
    """An overlay's patches lose nothing on the way."""
    wanted = {_key(item): item for item in manifests(read(folder / "cluster.yaml")).values()}
    assert {_key(item): item for item in built(folder)} == wanted


def test_a_second_run_removes_what_is_no_longer_there(tmp_path: Path) -> None:
    config = (K8S / "overlays/local/cluster.yaml").read_text()
    (tmp_path / "cluster.yaml").write_text(config.replace("gateway: {replicas: 1", "gateway: {replicas: 2"))
    render(tmp_path / "cluster.yaml", tmp_path)
    (tmp_path / "mine.yaml").write_text("mine: true\n")
    (tmp_path / "cluster.yaml").write_text(config)
    _, removed = render(tmp_path / "cluster.yaml", tmp_path)
    assert removed == ["disruption-budgets/gateways.yaml"]
    assert _files(tmp_path) == {*base_files(manifests(read(tmp_path / "cluster.yaml"))), "cluster.yaml", "mine.yaml"}


CONFIG = """\
family: gemma-4
variants:
  e2b: {engine: vllm, num_gpus: 1}
  31b:
    engine: vllm
    num_gpus: 2
    tensor_parallel: 2
    max_context_tokens: 32768
kubernetes:
  groups:
    small:
      variants: [e2b]
      gpu: l4
      gpus: 1
      cpus: 8
      memory_gib: 32
    large:
      variants: [31b]
      gpu: h100
      gpus: 4
      cpus: 32
      memory_gib: 200
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("gpus: 4", "gpus: 1", 6, r"variants\.31b\.num_gpus: a replica.*wants 2 GPUs of one pod.*large has 1 x h100"),
        ("gpu: h100", "gpu: h10", 19, r"kubernetes\.groups\.large\.gpu: .*h10.*h100"),
        ("gpu: h100", "gpu: l4", 4, r"variants\.31b does not fit on 2 x L4 24 GB.*set "),
        ("      gpu: h100\n      gpus: 4\n", "", 6, r"variants\.31b\.num_gpus: .*large has no GPU"),
        ("      gpu: h100\n", "", 19, r"kubernetes\.groups\.large\.gpus: gpu and gpus go together"),
        ("[31b]", "[12b]", 4, r"variants\.31b: is in no group of kubernetes\.groups"),
        ("[31b]", "[31b, e2b]", 3, r"variants\.e2b: is in small and large"),
        ("[31b]", "[31b, 12b]", 18, r"'12b' is no variant of this configuration; it has e2b, 31b"),
        ("      memory_gib: 200\n", "", 17, r"memory_gib: say how much"),
        ("cpus: 32\n", "cpus: 32\n      pods: {min: 3, max: 2}\n", 22, r"min \(3\) is above max \(2\)"),
        ("{engine: vllm, num_gpus: 1}", "{engine: vllm, num_gpus: 1, num_cpus: 9}", 3, r"wants 9 CPUs.*small has 8"),
        (
            "memory_gib: 32\n",
            "memory_gib: 32\n      pods: {max: 1}\n",
            17,
            r"replicas\.max of e2b take 3 pods, and there are at most 1",
        ),
        (
            "family: gemma-4\n",
            "family: gemma-4\nsessions: {redis_url: 'redis://:secret@h'}\n",
            2,
            r"Secret gemma-cluster-redis",
        ),
    ],
)
def test_what_the_hardware_does_not_have_is_refused_with_line_and_reason(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    text = CONFIG.replace("num_gpus: 1}", "num_gpus: 1, replicas: {max: 3}}") if "max: 1" in new else CONFIG
    assert old in text
    file = tmp_path / "cluster.yaml"
    file.write_text(text.replace(old, new))
    err = _refusal(file, tmp_path / "out")
    assert f"{file}:{line}: " in err, err
    assert re.search(said, err), err
    assert "secret@" not in err
    assert not (tmp_path / "out").exists()


def test_sessions_elsewhere_are_reached_by_the_secrets_url_whatever_kind_of_redis_that_is(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(f"{CONFIG}  redis: {{external_sessions: true, external_ports: [26379, 6379]}}\n")
    found = manifests(read(file))
    assert not [name for name in found if "sessions-redis" in name and name != "network/to-sessions-redis.yaml"]
    [rule] = found["network/to-sessions-redis.yaml"]["spec"]["egress"]
    assert rule == {"ports": [{"protocol": "TCP", "port": port} for port in (26379, 6379)]}
    secret = {"secretKeyRef": {"name": "gemma-cluster-redis", "key": "url"}}
    assert f"{{'name': 'REDIS_URL', 'valueFrom': {secret}}}" in str(found["ray-service.yaml"])


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("groups: {gateways: {variants: [e2b], cpus: 1}}", "'gateways' cannot be a group's name"),
        ("images: {cpu: 'registry:5000/gemma-cluster'}", "give a tag other than latest"),
        ("images: {cpu: 'gemma-cluster:latest'}", "give a tag other than latest"),
        ("gpus: 3", "kubernetes.gpus: Extra inputs are not permitted"),
    ],
)
def test_a_section_that_cannot_be_is_refused(tmp_path: Path, section: str, said: str) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(f"kubernetes:\n  {section}\n")
    assert said in _refusal(file, tmp_path)


def test_an_overlay_stays_in_its_base_namespace(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(f"{CONFIG}  namespace: other\n")
    assert "kubernetes.namespace: an overlay cannot move" in _refusal(file, tmp_path, "--base", str(BASE))


@pytest.mark.parametrize(("path", "line"), [(("a",), 1), (("a", "b"), 2), (("a", "c"), 1), (("z",), 1), ((), 1)])
def test_a_line_is_that_of_the_nearest_key(path: tuple[str, ...], line: int) -> None:
    assert line_of("a:\n  b: 1\n", path) == line


def _refusal(config: Path, output: Path, *more: str) -> str:
    """What the command says on standard error."""
    arguments = ["k8s", "render", "--config", str(config), "--output", str(output), *more]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output
    return result.stderr


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")}


def _key(item: dict[str, object]) -> tuple[object, object]:
    return item["kind"], yaml.safe_load(yaml.safe_dump(item["metadata"]))["name"]
