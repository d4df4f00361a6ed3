"""Regenerates the committed Python code of every .proto: `python -m protos.generate`."""

import importlib.resources
import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Runs protoc from the repository root, so that a proto's path is its Python import."""
    include_dirs = [ROOT, importlib.resources.files("grpc_tools") / "_proto"]
    protos = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "protos").rglob("*.proto"))
    outputs = [f"--{kind}_out={ROOT}" for kind in ("python", "pyi", "grpc_python")]
    return int(protoc.main(["protoc", *(f"-I{path}" for path in include_dirs), *outputs, *protos]))


if __name__ == "__main__":
    sys.exit(main())
