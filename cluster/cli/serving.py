"""`up`, `drain` and `models`: a cluster's life."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from cluster.cli.ending import connected, fail
from cluster.cli.options import Address, modality_name
from cluster.client import DEFAULT_ADDRESS
from protos.gemmacluster.v1.model_pb2 import Model

LogFormat = Literal["json", "text", "off"]


def up(
    config: Annotated[
        Path | None, typer.Option(help="YAML file; the README describes it.", exists=True, dir_okay=False)
    ] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to deploy onto. Default: start one here.")] = None,
    port: Annotated[int | None, typer.Option(help="gRPC port. Default: the configuration's, else 50051.")] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="Access log, a line a call. Default: the configuration's, else json.")
    ] = None,
) -> None:
    """Runs the whole system until Ctrl-C: Ray, Redis, gateway, all variants."""
    try:
        from cluster.up import run
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed; running a cluster needs: pip install 'gemma-cluster[server]'")
    sys.exit(run(config, address, port, log_format))


def drain(address: Address = DEFAULT_ADDRESS) -> None:
    """Takes a gateway out of service, for good, and waits until its calls have ended: for what stops it afterwards."""
    with connected(address) as client:
        cut_off = client.drain()
    print(f"drained; {cut_off} calls were cut off")


def models(address: Address = DEFAULT_ADDRESS) -> None:
    """Lists the variants, their replicas and limits."""
    with connected(address) as client:
        rows = [_row(item) for item in client.models()]
    header = ("VARIANT", "REPLICAS", "ENGINE", "INPUT", "CONTEXT", "OUTPUT", "PARAMETERS", "CHECKPOINT")
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(item: Model) -> tuple[str, ...]:
    replicas = f"{item.replicas.running}/{item.replicas.target}"
    inputs = "+".join(map(modality_name, item.input_modalities))
    limits = f"{item.context_tokens}", f"{item.max_output_tokens}"
    return (item.name, replicas, item.engine, inputs, *limits, f"{item.total_parameters:,}", item.checkpoint)
