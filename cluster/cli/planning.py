"""`plan`: whether a variant fits a GPU."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cluster.cli.ending import fail


def plan(
    gpu: Annotated[str, typer.Option(help="l4, a100-40, l40s, a100-80, h100 or h200; list shows them.")],
    variant: Annotated[str, typer.Option(help="e2b, e4b, 26b-a4b or 31b.")] = "",
    context: Annotated[str, typer.Option(help="Prompt and output of a sequence, in tokens: 8192, 32k.")] = "32k",
    count: Annotated[int | None, typer.Option(help="GPUs at hand. Default: as many as a replica wants.")] = None,
    quantization: Annotated[
        str, typer.Option(help="vllm: bf16, fp8, int8 (experts), w4a16; native: bf16, int8, int4.")
    ] = "bf16",
    kv: Annotated[str, typer.Option(help="Keys and values: bf16 or fp8.")] = "bf16",
    engine: Annotated[str, typer.Option(help="vllm or native.")] = "vllm",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, sizes in bytes.")] = False,
) -> None:
    """Says whether a variant fits a GPU, on how many, how much KV cache that leaves, and what to configure.

    Exits with 1 if it does not fit, and says what would.

    Fewest GPUs for a context:   gemma-cluster plan --gpu h100 --variant 26b-a4b --context 32k

    Replicas on a node of 8:     gemma-cluster plan --gpu h200 --variant 31b --context 128k --count 8

    A smaller GPU:               gemma-cluster plan --gpu l4 --variant e4b --quantization w4a16 --kv fp8

    Which GPUs are known:        gemma-cluster plan --gpu list
    """
    from cluster.planning.report import gpu_list

    if gpu == "list":
        print(gpu_list())
        return
    from cluster.planning.as_json import json_report
    from cluster.planning.errors import PlanError
    from cluster.planning.plan import plan as make_plan
    from cluster.planning.report import text_report
    from cluster.planning.tokens import parse_tokens

    try:
        made = make_plan(gpu, variant, parse_tokens(context), count, quantization, kv, engine)
    except PlanError as error:
        fail(str(error))
    print(json_report(made) if as_json else text_report(made))
    sys.exit(0 if made.chosen is not None else 1)
