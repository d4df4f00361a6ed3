"""`python -m model.tiny`: writes tiny checkpoints to a folder."""

import argparse
from pathlib import Path

from model.tiny.checkpoint import write_tiny
from model.tiny.family import TINY_VARIANTS
from model.weights import num_parameters

_DESCRIPTION = """\
Write random checkpoints with the structure of the Gemma 4 variants and a few hundred thousand parameters each.
They load wherever Gemma 4 loads (this runtime, transformers, vLLM), need no network, and say nothing sensible.
The same bytes are written every time."""
_EXAMPLES = """\
examples:
  python -m model.tiny --out checkpoints                        all four, as checkpoints/e2b, checkpoints/e4b, ...
  python -m model.tiny --out checkpoints --variant e2b --variant 31b"""


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line and writes."""
    parser = argparse.ArgumentParser(
        prog="python -m model.tiny",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder that gets one per variant")
    parser.add_argument(
        "--variant", action="append", choices=list(TINY_VARIANTS), help="only this one (may be repeated)"
    )
    options = parser.parse_args(arguments)
    for variant in options.variant or TINY_VARIANTS:
        write_tiny(variant, options.out / variant)
        size = num_parameters(TINY_VARIANTS[variant].text)
        print(f"{options.out / variant}: {size:,} parameters in the text decoder")


if __name__ == "__main__":
    main()
