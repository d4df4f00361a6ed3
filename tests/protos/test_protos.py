"""Rules of the protos: everything is commented, enums begin unspecified, generated code is fresh, buf agrees."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

from protos.gemmacluster.v1 import generation_pb2
from protos.generate import ROOT, stale_files

# Field numbers in descriptor.proto, of which the paths of source locations are made.
FILE_MESSAGES, FILE_ENUMS, FILE_SERVICES, FILE_PACKAGE = 4, 5, 6, 2
MESSAGE_FIELDS, MESSAGE_MESSAGES, MESSAGE_ENUMS, MESSAGE_ONEOFS = 2, 3, 4, 8
ENUM_VALUES = SERVICE_METHODS = 2
Named = tuple[tuple[int, ...], str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    """Every proto of ours, with its comments."""
    out = tmp_path_factory.mktemp("protos") / "all.binpb"
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "protos").rglob("*.proto"))
    options = [f"-I{ROOT}", f"-I{well_known}", "--include_source_info", f"--descriptor_set_out={out}"]
    assert protoc.main(["protoc", *options, *sources]) == 0
    return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def _of_message(message: DescriptorProto, path: tuple[int, ...], name: str) -> Iterator[Named]:
    yield path, name
    for i, field in enumerate(message.field):
        yield (*path, MESSAGE_FIELDS, i), f"{name}.{field.name}"
    for i, oneof in enumerate(message.oneof_decl):
        if not oneof.name.startswith("_"):  # made up for `optional`
            yield (*path, MESSAGE_ONEOFS, i), f"{name}.{oneof.name}"
    for i, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:  # made up for maps
            yield from _of_message(nested, (*path, MESSAGE_MESSAGES, i), f"{name}.{nested.name}")
    for i, enum in enumerate(message.enum_type):
        yield from _of_enum(enum, (*path, MESSAGE_ENUMS, i), f"{name}.{enum.name}")


def _of_enum(enum: EnumDescriptorProto, path: tuple[int, ...], name: str) -> Iterator[Named]:
    yield path, name
    for i, value in enumerate(enum.value):
        yield (*path, ENUM_VALUES, i), f"{name}.{value.name}"


def _of_file(file: FileDescriptorProto) -> Iterator[Named]:
    yield (FILE_PACKAGE,), f"package {file.package}"
    for i, message in enumerate(file.message_type):
        yield from _of_message(message, (FILE_MESSAGES, i), message.name)
    for i, enum in enumerate(file.enum_type):
        yield from _of_enum(enum, (FILE_ENUMS, i), enum.name)
    for i, service in enumerate(file.service):
        yield (FILE_SERVICES, i), service.name
        for j, method in enumerate(service.method):
            yield (FILE_SERVICES, i, SERVICE_METHODS, j), f"{service.name}.{method.name}"


def _commented(file: FileDescriptorProto) -> set[tuple[int, ...]]:
    locations = file.source_code_info.location
    return {tuple(item.path) for item in locations if (item.leading_comments + item.trailing_comments).strip()}


def _enums(files: list[FileDescriptorProto]) -> list[EnumDescriptorProto]:
    nested = (enum for file in files for message in file.message_type for enum in message.enum_type)
    return [enum for file in files for enum in file.enum_type] + list(nested)


def test_the_public_api_has_its_four_services(files: list[FileDescriptorProto]) -> None:
    public = [file for file in files if file.package == "gemmacluster.v1"]
    names = {service.name for file in public for service in file.service}
    assert names == {"GenerationService", "SessionService", "ModelService", "AdminService"}


def test_everything_has_a_comment(files: list[FileDescriptorProto]) -> None:
    bare = [f"{file.name}: {name}" for file in files for path, name in _of_file(file) if path not in _commented(file)]
    assert bare == []
    assert sum(1 for file in files for _ in _of_file(file)) > 100


def test_enums_begin_unspecified(files: list[FileDescriptorProto]) -> None:
    assert len(_enums(files)) >= 4
    for enum in _enums(files):
        assert enum.value[0].number == 0
        assert enum.value[0].name.endswith("_UNSPECIFIED"), enum.name


def test_every_sampling_value_can_be_left_unset(files: list[FileDescriptorProto]) -> None:
    config = generation_pb2.GenerationConfig.DESCRIPTOR
    singular = [field for field in config.fields if not field.is_repeated]
    assert len(singular) >= 6
    assert [field.name for field in singular if not field.has_presence] == []


def test_the_public_api_does_not_know_the_internal_one(files: list[FileDescriptorProto]) -> None:
    for file in files:
        if file.package == "gemmacluster.v1":
            assert not any("internal" in dependency for dependency in file.dependency)


def test_generated_code_is_fresh() -> None:
    assert stale_files() == []


def test_the_generators_check_says_the_same() -> None:
    command = [sys.executable, "-m", "protos.generate", "--check"]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0


def test_buf_lint_passes() -> None:
    command = [str(Path(sys.executable).parent / "buf"), "lint", "--config", "protos/buf.yaml"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
