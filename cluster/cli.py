"""The gemma-cluster command. Everything but `up` works with the base install, without Ray or torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import grpc
import typer
from google.protobuf.json_format import MessageToDict

from cluster.client import DEFAULT_ADDRESS, Client, Piece
from cluster.credentials import CredentialsError, environment_credentials
from cluster.errors import ClusterError
from cluster.simulate import simulate
from protos.gemmacluster.v1.content_pb2 import Modality
from protos.gemmacluster.v1.generation_pb2 import QUEUE_REASON_STARTING, QueueStatus, RoutingInfo
from protos.gemmacluster.v1.model_pb2 import Model

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""Serves the Gemma 4 family on your own machines, and talks to it.

Start a cluster:    gemma-cluster up

Ask it something:   gemma-cluster ask "Why is the sky blue?"

Keep talking:       gemma-cluster ask "And at night?" --session demo
""",
)

k8s = typer.Typer(no_args_is_help=True, help="Manifests for Kubernetes.")
app.add_typer(k8s, name="k8s")

LogFormat = Literal["json", "text", "off"]
Text = Annotated[str, typer.Argument(help="What to ask; - reads standard input.")]
Address = Annotated[str, typer.Option(envvar="GEMMA_CLUSTER_ADDRESS", help="host:port of a gateway.")]
ModelName = Annotated[str, typer.Option(help="auto, or a variant: e2b, e4b, 26b-a4b, 31b.")]
Session = Annotated[str, typer.Option(help="Conversation to continue; made if there is none.")]
Images = Annotated[list[Path], typer.Option("--image", help="Image file; repeatable.", exists=True, dir_okay=False)]
Audios = Annotated[list[Path], typer.Option("--audio", help="Audio file; repeatable.", exists=True, dir_okay=False)]
Videos = Annotated[list[Path], typer.Option("--video", help="Video file; repeatable.", exists=True, dir_okay=False)]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", help="Most tokens to generate.")]


@app.command()
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
        _fail(f"{error.name} is not installed; running a cluster needs: pip install 'gemma-cluster[server]'")
    sys.exit(run(config, address, port, log_format))


@app.command()
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
        _fail(str(error))
    print(json_report(made) if as_json else text_report(made))
    sys.exit(0 if made.chosen is not None else 1)


@k8s.command()
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
        _fail(f"{error.name} is not installed; rendering manifests needs: pip install 'gemma-cluster[server]'")
    try:
        count, removed = write(config, output, base)
    except (ConfigError, OSError) as error:
        _fail(str(error))
    print(f"wrote {count} files to {output}", *(f"removed {name}" for name in removed), sep="\n")


@app.command()
def ask(
    text: Text,
    session: Session = "",
    model: ModelName = "auto",
    image: Images = [],  # noqa: B006
    audio: Audios = [],  # noqa: B006
    video: Videos = [],  # noqa: B006
    max_tokens: MaxTokens = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer.")] = None,
    system: Annotated[str | None, typer.Option(help="Instructions for the model.")] = None,
    thinking: Annotated[bool, typer.Option("--thinking", help="Let the model reason first.")] = False,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Streams an answer to stdout, and one line about routing to stderr."""
    settings = {"max_output_tokens": max_tokens, "temperature": temperature, "seed": seed}
    config = {name: value for name, value in settings.items() if value is not None}
    with _client(address) as client:
        if session:
            kept = client.ensure_session(session, system=system).system_instruction
            # The instructions stand in the session; the gateway refuses others.
            system = None if system == "".join(part.text for part in kept.parts) else system
        pieces = client.stream(
            _read(text),
            model=model,
            session=session,
            system=system,
            media=[*image, *audio, *video],
            thinking=thinking,
            queue_status=True,
            **config,
        )
        is_thinking = False
        for piece in pieces:
            is_thinking = _show(piece, is_thinking)
    print()


@app.command()
def route(
    text: Text,
    model: ModelName = "auto",
    image: Images = [],  # noqa: B006
    audio: Audios = [],  # noqa: B006
    video: Videos = [],  # noqa: B006
    max_tokens: MaxTokens = None,
    preference: Annotated[str, typer.Option(help="fast, balanced or best.")] = "balanced",
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Explains which variant would answer, without generating."""
    config = {} if max_tokens is None else {"max_output_tokens": max_tokens}
    with _client(address) as client:
        media = [*image, *audio, *video]
        decision = client.route(_read(text), model=model, media=media, preference=preference, **config)
    print(decision.routing.variant)
    for item in decision.prompt_tokens_by_modality:
        print(f"  {item.tokens} {_modality(item.modality)} tokens")
    print(f"  up to {decision.max_output_tokens} output tokens")
    print(f"  candidates: {', '.join(decision.routing.candidates)}")
    for reason in decision.routing.reasons:
        print(f"  {reason.code}: {reason.message}")


@app.command()
def drain(address: Address = DEFAULT_ADDRESS) -> None:
    """Takes a gateway out of service, for good, and waits until its calls have ended: for what stops it afterwards."""
    with _client(address) as client:
        cut_off = client.drain()
    print(f"drained; {cut_off} calls were cut off")


@app.command()
def models(address: Address = DEFAULT_ADDRESS) -> None:
    """Lists the variants, their replicas and limits."""
    with _client(address) as client:
        rows = [_row(item) for item in client.models()]
    header = ("VARIANT", "REPLICAS", "ENGINE", "INPUT", "CONTEXT", "OUTPUT", "PARAMETERS", "CHECKPOINT")
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


app.command()(simulate)


def _row(item: Model) -> tuple[str, ...]:
    replicas = f"{item.replicas.running}/{item.replicas.target}"
    inputs = "+".join(map(_modality, item.input_modalities))
    limits = f"{item.context_tokens}", f"{item.max_output_tokens}"
    return (item.name, replicas, item.engine, inputs, *limits, f"{item.total_parameters:,}", item.checkpoint)


def _modality(number: Modality) -> str:
    return str(Modality.Name(number)).removeprefix("MODALITY_").lower()


def _show(piece: Piece, is_thinking: bool) -> bool:
    """Thoughts go to stderr, dimmed; True if the answer is still in one."""
    if piece.queue is not None:
        print(_queue_line(piece.queue), end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
    if piece.response.HasField("routing"):
        print(_routing_line(piece.response.routing), file=sys.stderr, flush=True)
    typer.secho(piece.thought, dim=True, nl=False, err=True)
    is_thinking = is_thinking or bool(piece.thought)
    if is_thinking and (piece.text or piece.calls):
        print(file=sys.stderr, flush=True)
        is_thinking = False
    print(piece.text, end="", flush=True)
    for call in piece.calls:
        print(f"{call.name}({json.dumps(MessageToDict(call.args), ensure_ascii=False)})", flush=True)
    return is_thinking


def _routing_line(routing: RoutingInfo) -> str:
    why = routing.reasons[0].message if routing.reasons else "the only choice"
    return f"[{routing.variant}] {why} (queued {routing.queue_ms:.0f} ms)"


def _queue_line(queue: QueueStatus) -> str:
    """As wide whatever it says, to be written over."""
    why = "starts a replica" if queue.reason == QUEUE_REASON_STARTING else "is busy"
    ahead = f", {queue.requests_ahead} before this one" if queue.requests_ahead else ""
    left = f", about {queue.wait_ms / 1000:.0f} s to go" if queue.HasField("wait_ms") else ""
    return f"[{queue.variant}] {why}{ahead}{left} ({queue.waited_ms / 1000:.0f} s so far)".ljust(79)


def _read(text: str) -> str:
    if text != "-":
        return text
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        _fail("standard input is not UTF-8 text")


@contextmanager
def _client(address: str) -> Iterator[Client]:
    """A client whose errors end the command with one clear line."""
    try:
        with Client(address, credentials=environment_credentials()) as client:
            yield client
    except CredentialsError as error:
        _fail(str(error))
    except ClusterError as error:
        _fail(f"{error.code.name}: {error}")
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            _fail(f"no gateway answers at {address}; start one with: gemma-cluster up")
        _fail(f"{error.code().name}: {error.details()}")


def _fail(message: str) -> NoReturn:
    print(f"gemma-cluster: {message}", file=sys.stderr)
    raise SystemExit(1)


def main() -> None:
    """Entry point of the gemma-cluster command."""
    app()


if __name__ == "__main__":
    main()
