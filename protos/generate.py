"""Regenerates the committed Python code of every .proto: `python -m protos.generate [--check]`."""

import importlib.resources
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]


def generate(out: Path) -> None:
    """Runs protoc with the repository root as include path, so that a proto's path is its Python import."""
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "protos").rglob("*.proto"))
    outputs = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{ROOT}", f"-I{well_known}", *outputs, *sources]) != 0:
        raise SystemExit("protoc failed")


def stale_files() -> list[str]:
    """Generated files that differ from what protoc makes now."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*_pb2*")}
    committed = {path.relative_to(ROOT): path.read_bytes() for path in (ROOT / "protos").rglob("*_pb2*.py*")}
    committed = {path: text for path, text in committed.items() if "__pycache__" not in path.parts}
    return sorted(str(path) for path in {*fresh, *committed} if fresh.get(path) != committed.get(path))


def main() -> None:
    """Writes the generated code, or with --check fails when it is not up to date."""
    if "--check" not in sys.argv[1:]:
        generate(ROOT)
    elif stale := stale_files():
        raise SystemExit("stale, run `make protos`: " + ", ".join(stale))


if __name__ == "__main__":
    main()
