"""A few clips by held-out voices that come with the package, so that a first question and the tests need no espeak-ng.

`python -m model.pocket.speech.shipped` makes them anew.
"""

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from model.pocket.speech.espeak import SAMPLING_RATE_HZ, synthesize
from model.pocket.speech.lexicon import DIGITS, written
from model.pocket.speech.voices import Voice

FOLDER = Path(__file__).with_name("samples")
_INDEX = "index.json"
_SPOKEN = (
    ("seven four eight", Voice("en-us+m7", 170, 50)),
    ("four one seven", Voice("en-gb-x-rp+f2", 180, 50)),
    ("red umbrella", Voice("en-us+f2", 170, 50)),
    ("purple elephant", Voice("en-gb-x-rp+m7", 175, 55)),
    ("blue rabbit island", Voice("en-us+m4", 185, 50)),
)


@dataclass(frozen=True)
class Sample:
    """A FLAC file of 16 kHz, one channel, and what the model should answer when asked what is said in it."""

    path: Path
    said: str
    voice: str


def samples() -> list[Sample]:
    """Every clip that is shipped."""
    return [
        Sample(FOLDER / entry["file"], entry["said"], entry["voice"])
        for entry in json.loads((FOLDER / _INDEX).read_text())
    ]


def write_samples(folder: Path = FOLDER) -> None:
    """Makes the clips and their index, the same at every call. Raises EspeakError without espeak-ng."""
    folder.mkdir(parents=True, exist_ok=True)
    index = [_write_sample(folder, text, voice) for text, voice in _SPOKEN]
    (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _write_sample(folder: Path, text: str, voice: Voice) -> dict[str, str]:
    words = tuple(text.split())
    name = ("digits-" if words[0] in DIGITS else "") + written(words).replace(" ", "-") + ".flac"
    samples_N = synthesize(text, voice.name, voice.words_per_minute, voice.pitch)
    # A tenth of a second of silence around it, as a recording has.
    _write_flac(folder / name, np.pad(samples_N, SAMPLING_RATE_HZ // 10))
    return {"file": name, "said": written(words), "voice": voice.name}


def _write_flac(path: Path, samples_N: np.ndarray) -> None:
    values = np.round(np.clip(samples_N, -1, 1) * (2**15 - 1)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(values[None], format="s16", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = SAMPLING_RATE_HZ, Fraction(1, SAMPLING_RATE_HZ), 0
    with av.open(str(path), "w", format="flac") as file:
        stream = file.add_stream("flac", rate=SAMPLING_RATE_HZ, layout="mono", format="s16")
        file.mux([*stream.encode(frame), *stream.encode(None)])


if __name__ == "__main__":
    write_samples()
