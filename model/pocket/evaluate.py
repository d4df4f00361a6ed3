"""`python -m model.pocket.evaluate`: how often each variant is right, asked through gRPC."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc

from cluster.checkpoints import resolve_checkpoint
from cluster.client import Client
from cluster.errors import ClusterError
from model.checkpoint import CheckpointError
from model.pocket.curriculum import HEARING
from model.pocket.dialogue import Split
from model.pocket.evaluation.card import write_card
from model.pocket.evaluation.exam import exams
from model.pocket.evaluation.examiner import Result, examine
from model.pocket.evaluation.own_cluster import ClusterDidNotStart, own_cluster
from model.pocket.evaluation.progress import Progress
from model.pocket.evaluation.table import CLAIMED, failed, mistakes, table
from model.pocket.family import POCKET_VARIANTS
from model.pocket.speech.clips import ClipPool
from model.pocket.speech.espeak import EspeakError

_CLIPS = 400
_DESCRIPTION = f"""\
Start a cluster with the pocket family, ask every variant about all that it was taught, with names, words, sizes, voices
and sentences that it never saw, and print how often it is right. Answers are compared as they stand. Exits with 1 if
any is right less often than {CLAIMED:.0%}. Hearing needs espeak-ng (apt-get install espeak-ng)."""
_EXAMPLES = """\
examples:
  python -m model.pocket.evaluate                                   all variants, 100 conversations a skill
  python -m model.pocket.evaluate --variant 31b --verbose           one, and what it got wrong
  python -m model.pocket.evaluate --target 127.0.0.1:50051          a cluster that runs already
  python -m model.pocket.evaluate --family pocket-training/checkpoints --card"""
_TROUBLE = (CheckpointError, ClusterDidNotStart, ClusterError, EspeakError)


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and measures. 1 if a skill is below what is claimed, 2 if nothing could be measured."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.card and options.target:
        parser.error("--card needs the checkpoints at hand; leave out --target")
    variants = list(dict.fromkeys(options.variant or POCKET_VARIANTS))
    try:
        results = _measure(options, variants)
    except _TROUBLE as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    except grpc.RpcError as error:
        print(f"evaluate: {options.target or 'the cluster'}: {error.code().name}: {error.details()}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return _report(options, results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.pocket.evaluate",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = list(POCKET_VARIANTS)
    parser.add_argument("--variant", action="append", choices=known, help="only this one (may be repeated)")
    parser.add_argument("--per-skill", type=_positive, default=100, metavar="N", help="conversations, 100 by default")
    parser.add_argument("--seed", type=int, default=0, help="other conversations")
    parser.add_argument("--target", metavar="HOST:PORT", help="ask this gateway instead of one started for it")
    parser.add_argument("--family", default="pocket", help="or a folder with one checkpoint folder a variant")
    parser.add_argument("--work", type=Path, default=_cache(), metavar="DIR", help="where spoken clips are kept")
    parser.add_argument("--card", action="store_true", help="write README.md beside each checkpoint")
    parser.add_argument("--verbose", action="store_true", help="show wrong answers")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gemma-cluster/pocket"


def _measure(options: argparse.Namespace, variants: Sequence[str]) -> dict[str, list[Result]]:
    hears = any(variant in HEARING for variant in variants)
    pools: dict[Split, ClipPool] = {"test": ClipPool(options.work, "test", _CLIPS)} if hears else {}
    results: dict[str, list[Result]] = {}
    with _cluster(options, variants) as address, Client(address, timeout_s=120) as client:
        for variant in variants:
            results[variant] = []
            for exam in exams(variant, pools if variant in HEARING else {}, options.per_skill, options.seed):
                with Progress(f"{variant} {exam.skill}", len(exam.dialogues)) as progress:
                    results[variant].append(examine(client, variant, exam, progress.advance))
    return results


@contextmanager
def _cluster(options: argparse.Namespace, variants: Sequence[str]) -> Iterator[str]:
    if options.target:
        yield options.target
        return
    for variant in variants:
        _folder(options.family, variant)
    with own_cluster(options.family, variants) as address:
        yield address


def _folder(family: str, variant: str) -> Path:
    return resolve_checkpoint(f"pocket:{variant}" if family == "pocket" else str(Path(family) / variant))


def _report(options: argparse.Namespace, results: dict[str, list[Result]]) -> int:
    print(table(results))
    if options.verbose:
        print(*mistakes(results), sep="\n")
    if options.card:
        for variant, column in results.items():
            print(f"wrote {write_card(variant, column, _folder(options.family, variant))}")
    below = failed(results)
    if below:
        print(f"below {CLAIMED:.0%}: {', '.join(below)}")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
