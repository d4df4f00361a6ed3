"""The gemma-cluster command. Everything but `up` works with the base install, without Ray or torch."""

from __future__ import annotations

import typer

from cluster.cli.asking import ask, route
from cluster.cli.planning import plan
from cluster.cli.rendering import render
from cluster.cli.serving import drain, models, up
from cluster.cli.simulating import simulate

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
k8s.command()(render)
for command in (up, plan, ask, route, drain, models, simulate):
    app.command()(command)


def main() -> None:
    """Entry point of the gemma-cluster command."""
    app()
