"""`make chaos`: hurts a cluster for minutes, and says what was wrong. Exits with 1 if anything was."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import run


def main() -> int:
    """Parses the command line, and runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long, 600 by default")
    parser.add_argument("--seed", type=int, default=0, help="which faults in which order")
    parser.add_argument("--folder", type=Path, help="where the record is left; default: a new one")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    report = run(options.seed, options.seconds, folder)
    print(report, f"the record is {folder / 'record.jsonl'}", sep="\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
