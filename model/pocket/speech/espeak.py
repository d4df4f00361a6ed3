"""Text to speech by the espeak-ng program. Training and evaluation need it; running the family does not.

Shapes: N samples.
"""

import subprocess

import numpy as np

from model.preprocess.sound import resample

SAMPLING_RATE_HZ = 16_000
# Trimmed away at both ends: what is quieter than this share of the loudest sample.
_SILENCE = 0.01


class EspeakError(RuntimeError):
    """espeak-ng is missing or refused to speak; the message says what to change."""


def synthesize(text: str, voice: str, words_per_minute: int = 175, pitch: int = 50) -> np.ndarray:
    """Speech as float32 [N] at 16 kHz within -1..1, without the silence around it. The same at every call.

    `voice` is a language and a variant such as "en-us+m3"; `pitch` is 0..99. Raises EspeakError.
    """
    settings = ["-v", voice, "-s", str(words_per_minute), "-p", str(pitch)]
    samples_N, rate_hz = _parse(_run("--stdout", *settings, "--", text))
    return _trimmed(resample(samples_N, rate_hz, SAMPLING_RATE_HZ))


def _run(*arguments: str) -> bytes:
    try:
        done = subprocess.run(["espeak-ng", *arguments], capture_output=True, timeout=60, check=False)
    except FileNotFoundError as error:
        raise EspeakError("espeak-ng is not installed; install it, as with: apt-get install espeak-ng") from error
    if done.returncode or not done.stdout:
        raise EspeakError(f"espeak-ng cannot speak with {arguments}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _parse(wav: bytes) -> tuple[np.ndarray, int]:
    """16-bit samples as float32 [N] and their rate. Written to a pipe, the header's sizes mean nothing."""
    start = wav.index(b"data") + 8
    samples_N = np.frombuffer(wav[start : start + (len(wav) - start) // 2 * 2], "<i2")
    return samples_N.astype(np.float32) / 2**15, int.from_bytes(wav[24:28], "little")


def _trimmed(samples_N: np.ndarray) -> np.ndarray:
    loudness_N = np.abs(samples_N)
    loud = np.flatnonzero(loudness_N > _SILENCE * loudness_N.max(initial=0))
    if not len(loud):
        raise EspeakError("espeak-ng made silence: the text holds nothing to say")
    return samples_N[loud[0] : loud[-1] + 1]
