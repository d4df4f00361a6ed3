"""Writes a quantised copy of a checkpoint: `python -m model.quantization CHECKPOINT FOLDER --bits 4`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from model.checkpoint import CheckpointError
from model.quantization.scheme import GROUP_SIZES, Quantization
from model.quantization.writer import quantize_checkpoint

_EPILOG = """\
Int8 keeps nearly all accuracy; int4 takes half the memory of it, and the smaller its groups, the less it loses and the
more it takes. `python -m model.quantization.report CHECKPOINT TEXT` measures both."""


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and writes; 1 after an error that it has told."""
    parser = argparse.ArgumentParser(prog="python -m model.quantization", description=__doc__, epilog=_EPILOG)
    parser.add_argument("checkpoint", type=Path, help="folder of a Hugging Face checkpoint")
    parser.add_argument("folder", type=Path, help="new folder for the quantised checkpoint")
    parser.add_argument("--bits", type=int, choices=(4, 8), default=4, help="default: 4")
    parser.add_argument("--group-size", type=int, choices=GROUP_SIZES, default=64, help="of int4; default: 64")
    options = parser.parse_args(arguments)
    scheme = Quantization(options.bits, options.group_size)
    try:
        quantize_checkpoint(options.checkpoint, options.folder, scheme, _Percents())
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in options.folder.iterdir())
    print(f"{options.folder}: {scheme.name}, {size / 1e9:.2f} GB")
    return 0


class _Percents:
    """Prints a line for every tenth that is done."""

    def __init__(self) -> None:
        self._tenths = 0

    def __call__(self, done: int, total: int) -> None:
        if done * 10 // total > self._tenths:
            self._tenths = done * 10 // total
            print(f"quantising: {self._tenths * 10} %", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
