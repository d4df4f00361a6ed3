"""What several commands have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from protos.gemmacluster.v1.content_pb2 import Modality

Address = Annotated[str, typer.Option(envvar="GEMMA_CLUSTER_ADDRESS", help="host:port of a gateway.")]


def modality_name(number: Modality) -> str:
    """ "text", "image"."""
    return str(Modality.Name(number)).removeprefix("MODALITY_").lower()
