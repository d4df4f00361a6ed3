"""What eyes and ears learn from by themselves: pictures and sounds without a word of dialogue."""

import random

from torch.utils.data import Dataset

from model.pocket.scenes.drawing import draw
from model.pocket.scenes.placing import crowd, placed, some_kinds
from model.pocket.speech.clips import ClipPool
from model.pocket.speech.lexicon import DIGITS
from model.pocket.training.batch import MEL_FRAMES
from model.pocket.training.prepared import Picture, Sound, picture, sound

# Digits are ten and learned soon: half of their clips are passed over, for more of the words.
_DIGITS_PASSED_OVER = 0.5
# Full pictures teach most for the same work; the others are like those that are asked about.
_CROWDED = 2 / 3


class PictureCards(Dataset[list[Picture]]):
    """The pictures of step number `step` by index, `count` of them, the same for a seed."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed, self._count = seed, count

    def __getitem__(self, step: int) -> list[Picture]:
        rng = random.Random(f"pictures {self._seed} {step}")
        return [self._one(rng) for _ in range(self._count)]

    @staticmethod
    def _one(rng: random.Random) -> Picture:
        scene = placed(rng, "train", crowd(rng) if rng.random() < _CROWDED else some_kinds(rng))
        return picture(draw(scene), scene)


class SoundCards(Dataset[list[Sound]]):
    """The sounds of step number `step` by index, `count` of them, the same for a seed."""

    def __init__(self, seed: int, count: int, clips: ClipPool) -> None:
        self._seed, self._count, self._clips = seed, count, clips

    def __getitem__(self, step: int) -> list[Sound]:
        rng = random.Random(f"sounds {self._seed} {step}")
        return [self._one(rng) for _ in range(self._count)]

    def _one(self, rng: random.Random) -> Sound:
        while True:
            clip = self._clips.draw(rng)
            if clip.utterance.words[0] in DIGITS and rng.random() < _DIGITS_PASSED_OVER:
                continue
            drawn = sound(clip.samples_N, clip.utterance.words)
            if len(drawn.mel_FK) <= MEL_FRAMES[-1]:
                return drawn
