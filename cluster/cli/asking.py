"""`ask` and `route`: what is said to a cluster, and which variant would answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.ending import connected, fail
from cluster.cli.options import Address, modality_name
from cluster.cli.pieces import show
from cluster.client import DEFAULT_ADDRESS

Text = Annotated[str, typer.Argument(help="What to ask; - reads standard input.")]
ModelName = Annotated[str, typer.Option(help="auto, or a variant: e2b, e4b, 26b-a4b, 31b.")]
Session = Annotated[str, typer.Option(help="Conversation to continue; made if there is none.")]
Images = Annotated[list[Path], typer.Option("--image", help="Image file; repeatable.", exists=True, dir_okay=False)]
Audios = Annotated[list[Path], typer.Option("--audio", help="Audio file; repeatable.", exists=True, dir_okay=False)]
Videos = Annotated[list[Path], typer.Option("--video", help="Video file; repeatable.", exists=True, dir_okay=False)]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", help="Most tokens to generate.")]


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
    with connected(address) as client:
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
            is_thinking = show(piece, is_thinking)
    print()


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
    with connected(address) as client:
        media = [*image, *audio, *video]
        decision = client.route(_read(text), model=model, media=media, preference=preference, **config)
    print(decision.routing.variant)
    for item in decision.prompt_tokens_by_modality:
        print(f"  {item.tokens} {modality_name(item.modality)} tokens")
    print(f"  up to {decision.max_output_tokens} output tokens")
    print(f"  candidates: {', '.join(decision.routing.candidates)}")
    for reason in decision.routing.reasons:
        print(f"  {reason.code}: {reason.message}")


def _read(text: str) -> str:
    if text != "-":
        return text
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        fail("standard input is not UTF-8 text")
