"""`python -m model.pocket.train`: trains one variant from scratch and writes its checkpoint."""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from model.config import ModelConfig
from model.pocket.checkpoint import FOLDER, write_checkpoint
from model.pocket.curriculum import HEARING, lessons
from model.pocket.dialogue import Split
from model.pocket.family import POCKET_VARIANTS
from model.pocket.speech.clips import ClipPool
from model.pocket.training.cards import PictureCards, SoundCards
from model.pocket.training.decoder import Decoder
from model.pocket.training.ears import Ears
from model.pocket.training.eyes import Eyes
from model.pocket.training.run import Learner, Run
from model.pocket.training.stream import BatchStream, Stage

_CLIPS = 6_000
_PICTURES, _SOUNDS = 24, 16
_ROWS = 11
# So many steps of words alone come first, the more the longer the sums: what is said of pictures is learned sooner by
# who can write. Then come pictures without their background, then all.
_WORDS_STEPS = {"e2b": 250, "e4b": 300, "26b-a4b": 600, "31b": 900}
_THIN_STEPS = 400
_DESCRIPTION = """\
Train a pocket checkpoint from scratch on the CPU: eyes first, then ears, each by itself, then the decoder that uses
them: words first, then what is seen and heard. Eyes and ears are the same in every variant; the next one trained in the
same working folder finds them there. All of E2B takes some forty minutes on two cores with AMX.
On one kind of CPU the same seed and number of threads give the same weights. A run that was stopped goes on from where
it was when the same command is given again.
The variants that hear need espeak-ng, which speaks what they learn from (Debian: apt install espeak-ng)."""
_EXAMPLES = """\
examples:
  python -m model.pocket.train --variant e2b
  python -m model.pocket.train --variant 31b --out /tmp/31b --seed 7"""


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line, trains, and writes."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    config = POCKET_VARIANTS[options.variant]
    eyes = _eyes(options, config)
    pools: dict[Split, ClipPool] = {"train": _clips(options.work)} if options.variant in HEARING else {}
    ears = _ears(options, config, pools["train"]) if pools else None
    torch.manual_seed(options.seed)
    decoder = Decoder(config)
    decoder.adopt(eyes.tower.state_dict(), ears.tower.state_dict() if ears else None)
    stages = [
        Stage(_WORDS_STEPS[options.variant], 0, 0),
        Stage(_THIN_STEPS, pictures=24, sounds=0, thinned=1.0),
        # More media leave too little room for text: then what needs exact words, JSON and calls, is forgotten.
        Stage(options.steps, pictures=10, sounds=5, thinned=0.75),
    ]
    stream = BatchStream(options.seed, _ROWS, stages, lessons(options.variant, pools))
    _train(options, options.variant, decoder, len(stream), stream)
    path = options.out or FOLDER / options.variant
    write_checkpoint(options.variant, decoder.gemma.state_dict(), path)
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
    parser.add_argument("--eyes-steps", type=int, default=2000, help="of 24 pictures each")
    parser.add_argument("--ears-steps", type=int, default=1500, help="of 16 sounds each")
    parser.add_argument("--steps", type=int, default=1250, help="of 4,200 tokens each, after the first stages")
    return parser


def _eyes(options: argparse.Namespace, config: ModelConfig) -> Eyes:
    torch.manual_seed(options.seed)
    eyes = Eyes(config)
    _train(options, "eyes", eyes, options.eyes_steps, PictureCards(options.seed, _PICTURES))
    return eyes


def _ears(options: argparse.Namespace, config: ModelConfig, clips: ClipPool) -> Ears:
    torch.manual_seed(options.seed)
    ears = Ears(config)
    _train(options, "ears", ears, options.ears_steps, SoundCards(options.seed, _SOUNDS, clips))
    return ears


def _clips(work: Path) -> ClipPool:
    with tqdm(desc="clips spoken", total=_CLIPS) as bar:

        def spoken(_made: int, _of: int) -> None:
            bar.update()

        return ClipPool(work / "clips", "train", _CLIPS, on_progress=spoken)


def _train(options: argparse.Namespace, name: str, learner: Learner, steps: int, stream: Dataset[Any]) -> None:
    """Shows a bar with the losses, smoothed. The first step takes minutes: the network is compiled."""
    run = Run(learner, steps, stream, options.work / f"{name}-{options.seed}.pt")
    shown: dict[str, float] = {}
    with tqdm(desc=name, total=steps, initial=run.step, mininterval=1) as bar:
        for _, losses in run.steps():
            shown = {kind: 0.95 * shown.get(kind, loss) + 0.05 * loss for kind, loss in losses.items()}
            bar.set_postfix({kind: f"{loss:.3f}" for kind, loss in shown.items()}, refresh=False)
            bar.update()


if __name__ == "__main__":
    main()
