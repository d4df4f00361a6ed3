"""`python -m model.pocket.train`: trains one variant from scratch and writes its checkpoint."""

import argparse
from pathlib import Path

import torch
from tqdm import tqdm

from model.pocket.checkpoint import FOLDER, write_checkpoint
from model.pocket.curriculum import HEARING, lessons
from model.pocket.dialogue import Split
from model.pocket.family import POCKET_VARIANTS
from model.pocket.speech.clips import ClipPool
from model.pocket.training.network import Network
from model.pocket.training.run import Run, Schedule
from model.pocket.training.stream import BatchStream, Portions

_CLIPS = 6_000
_ENCODERS_FIRST = Portions(rows=20, pictures=12, sounds=16, has_text=False)
_TOGETHER = Portions(rows=16, pictures=8, sounds=8)
_DESCRIPTION = """\
Train a pocket checkpoint from scratch on the CPU. The same seed and number of threads give the same weights.
A run that was stopped goes on from where it was when the same command is given again.
The variants that hear need espeak-ng, which speaks what they learn from (Debian: apt install espeak-ng)."""
_EXAMPLES = """\
examples:
  python -m model.pocket.train --variant e2b
  python -m model.pocket.train --variant 31b --out /tmp/31b --seed 7"""


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line, trains, and writes."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.work.mkdir(parents=True, exist_ok=True)
    schedule = Schedule(options.encoder_steps, options.steps, options.rate)
    network = Network(POCKET_VARIANTS[options.variant])
    run = Run(network, schedule, _stream(options, schedule), options.work / f"{options.variant}-{options.seed}.pt")
    _show(run, schedule)
    path = options.out or FOLDER / options.variant
    write_checkpoint(options.variant, network.gemma.state_dict(), path)
    print(f"{options.variant} is in {path}; python -m model.pocket.evaluate says how good it is")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.pocket.train",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--variant", required=True, choices=list(POCKET_VARIANTS))
    parser.add_argument("--out", type=Path, metavar="DIR", help="checkpoint folder; default: the one that is shipped")
    parser.add_argument("--work", type=Path, default=Path("pocket-training"), metavar="DIR", help="clips and progress")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--encoder-steps", type=int, default=600, help="when only what media show is learned")
    parser.add_argument("--steps", type=int, default=2000, help="when everything is learned together")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    return parser


def _stream(options: argparse.Namespace, schedule: Schedule) -> BatchStream:
    pools: dict[Split, ClipPool] = {}
    if options.variant in HEARING:
        pools["train"] = _clips(options.work / "clips")
    return BatchStream(
        options.seed,
        lambda step: _ENCODERS_FIRST if step < schedule.encoder_steps else _TOGETHER,
        lessons(options.variant, pools),
    )


def _clips(folder: Path) -> ClipPool:
    with tqdm(desc="clips spoken", total=_CLIPS) as bar:

        def spoken(_made: int, _of: int) -> None:
            bar.update()

        return ClipPool(folder, "train", _CLIPS, on_progress=spoken)


def _show(run: Run, schedule: Schedule) -> None:
    """A bar with the losses, smoothed. The first steps take minutes: the network is compiled."""
    shown: dict[str, float] = {}
    with tqdm(desc="compiling", total=schedule.total, initial=run.step, mininterval=1) as bar:
        for step, losses in run.steps():
            shown = {name: 0.95 * shown.get(name, loss) + 0.05 * loss for name, loss in losses.items()}
            bar.set_description("encoders" if step <= schedule.encoder_steps else "training", refresh=False)
            bar.set_postfix({name: f"{loss:.3f}" for name, loss in shown.items()}, refresh=False)
            bar.update()


if __name__ == "__main__":
    main()
