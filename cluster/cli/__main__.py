"""`python -m cluster.cli` is `gemma-cluster`."""

from cluster.cli import main

main()
