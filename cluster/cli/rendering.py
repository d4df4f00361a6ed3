"""`k8s render`: manifests from a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.ending import fail


def render(
    config: Annotated[Path, typer.Option(help="YAML file with a `kubernetes` section.", exists=True, dir_okay=False)],
    output: Annotated[Path, typer.Option(help="Folder to write; made if there is none.", file_okay=False)],
    base: Annotated[
        Path | None,
        typer.Option(
            help="Rendered folder, with its cluster.yaml, to write an overlay of.", exists=True, file_okay=False
        ),
    ] = None,
) -> None:
    """Writes manifests for `kubectl apply --server-side -k DIR`, after a check that the hardware holds the variants."""
    try:
        from cluster.config import ConfigError
        from cluster.k8s.render import render as write
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed; rendering manifests needs: pip install 'gemma-cluster[server]'")
    try:
        count, removed = write(config, output, base)
    except (ConfigError, OSError) as error:
        fail(str(error))
    print(f"wrote {count} files to {output}", *(f"removed {name}" for name in removed), sep="\n")
