"""Runs the benchmarks and prints a line for each figure; exits with 1 when one misses its target."""

import argparse
import importlib
import sys
from pathlib import Path


def names() -> list[str]:
    """Modules beside this one that have a `run`: those named bench_*.py."""
    return sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def main() -> int:
    """Each benchmark's `run()` yields Figures."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=names(), help="run just this one")
    only = parser.parse_args().only
    is_all_met = True
    for name in [only] if only else names():
        for figure in importlib.import_module(f"tests.bench.bench_{name}").run():
            print(figure, flush=True)
            is_all_met &= figure.is_met
    return 0 if is_all_met else 1


if __name__ == "__main__":
    sys.exit(main())
