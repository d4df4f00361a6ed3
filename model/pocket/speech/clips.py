"""A pool of spoken clips in a folder: made once, by espeak-ng, then read at no cost.

Shapes: N samples of one clip.
"""

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from model.pocket.dialogue import Split
from model.pocket.speech import lexicon, voices
from model.pocket.speech.espeak import synthesize
from model.pocket.speech.noise import recorded
from model.pocket.speech.voices import Voice

Progress = Callable[[int, int], None]
MOST_WORDS = 4
MOST_DIGITS = 6
_DIGITS_SHARE = 0.5


@dataclass(frozen=True)
class Utterance:
    """What is said and how."""

    words: tuple[str, ...]
    voice: Voice


@dataclass(frozen=True)
class Clip:
    """What is said, by which voice, and the sound as float32 [N] at 16 kHz."""

    utterance: Utterance
    samples_N: np.ndarray


def utterances(split: Split, count: int, seed: int) -> list[Utterance]:
    """That many utterances of 1-4 words or 1-6 digits; those of "test" have words and voices that "train" never has."""
    rng = random.Random(f"{split} {seed}")
    return [Utterance(_words(rng, split), voices.draw(rng, split)) for _ in range(count)]


def _words(rng: random.Random, split: Split) -> tuple[str, ...]:
    """Drawn until they are of the split; a single word or digit is of both."""
    if rng.random() < _DIGITS_SHARE:
        source, count = lexicon.DIGITS, rng.randint(1, MOST_DIGITS)
    else:
        source, count = lexicon.WORDS, rng.randint(1, MOST_WORDS)
    while True:
        words = tuple(rng.choices(source, k=count))
        if count == 1 or lexicon.is_held_out(words) == (split == "test"):
            return words


class ClipPool:
    """The clips of one split, in `folder`; opening it makes those that are missing, on every core.

    `on_progress` is told how many of all are made. Raises EspeakError where espeak-ng has to be there and is not.
    """

    def __init__(
        self, folder: Path, split: Split, count: int, seed: int = 0, on_progress: Progress | None = None
    ) -> None:
        self._utterances = utterances(split, count, seed)
        path = folder / f"{split}-{_fingerprint(self._utterances)}.npz"
        if not path.exists():
            _write(path, self._utterances, on_progress)
        with np.load(path) as arrays:
            self._samples, self._ends = arrays["samples"], arrays["ends"]

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, index: int) -> Clip:
        """The clip as espeak-ng spoke it."""
        start = int(self._ends[index - 1]) if index else 0
        samples_N = self._samples[start : int(self._ends[index])].astype(np.float32) / 2**15
        return Clip(self._utterances[index], samples_N)

    def draw(self, rng: random.Random) -> Clip:
        """A clip at random as a microphone heard it: loudness, noise and silence are drawn anew."""
        clip = self[rng.randrange(len(self))]
        return Clip(clip.utterance, recorded(rng, clip.samples_N))


def _fingerprint(spoken: list[Utterance]) -> str:
    """Names a pool by what is in it, so that a change of words or voices makes another."""
    return hashlib.sha256(json.dumps([asdict(utterance) for utterance in spoken]).encode()).hexdigest()[:16]


def _write(path: Path, spoken: list[Utterance], on_progress: Progress | None) -> None:
    """Whole or not at all: the file gets its name when it is complete."""
    clips = []
    for clip in _synthesized(spoken):
        clips.append(clip)
        if on_progress:
            on_progress(len(clips), len(spoken))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez(file, samples=np.concatenate(clips), ends=np.cumsum([len(clip) for clip in clips]))
    part.replace(path)


def _synthesized(spoken: list[Utterance]) -> Iterator[np.ndarray]:
    """16-bit samples [N] of each, in order."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        yield from threads.map(_synthesize, spoken)


def _synthesize(utterance: Utterance) -> np.ndarray:
    voice = utterance.voice
    samples_N = synthesize(" ".join(utterance.words), voice.name, voice.words_per_minute, voice.pitch)
    values_N: np.ndarray = np.round(np.clip(samples_N, -1, 1) * (2**15 - 1)).astype(np.int16)
    return values_N
