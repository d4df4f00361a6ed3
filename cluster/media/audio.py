"""Sound: decoded to the end to count its samples, or until it is too long."""

from __future__ import annotations

from typing import Any

import av

from cluster.media.container import check_complete, first_stream, opened
from cluster.media.errors import MediaError
from cluster.media.kinds import Kind
from cluster.media.limits import MediaLimits
from model.preprocess.errors import UnusableMedia
from model.preprocess.sound import check_loudness
from model.preprocess.timed_file import TimedFile
from model.soft_tokens import SoftTokenRules, audio_soft_tokens

# From here on a RIFF size means that the encoder streamed and did not know it yet.
_UNKNOWN_RIFF_SIZE = 0x7FFF_0000


def measure_audio(data: bytes, kind: Kind, limits: MediaLimits) -> float:
    """Seconds of sound. Raises MediaError, also for more than fits in a part: nothing is silently cut off."""
    if kind.mime_type == "audio/wav":
        _check_riff_size(data)
    with opened(data, kind, limits) as (container, file):
        duration_s = _decoded_s(container, kind, file, limits)
        if kind.mime_type != "audio/mpeg":  # an MP3's header often only guesses
            check_complete(kind, duration_s, container)
    if audio_soft_tokens(duration_s, SoftTokenRules()) == 0:
        raise MediaError(f"the {kind.label} is too short: {1000 * duration_s:.1f} ms, at least 11 ms are needed")
    return duration_s


def _decoded_s(container: Any, kind: Kind, file: TimedFile, limits: MediaLimits) -> float:
    stream = first_stream(container, kind, limits)
    samples, rate_hz = 0, 0
    for frame in container.decode(stream):
        file.check_time()
        if rate_hz not in (0, frame.sample_rate):
            raise MediaError(f"the {kind.label} changes its sample rate midway")
        rate_hz = frame.sample_rate
        _check_frame(frame, kind, limits)
        samples += frame.samples
        if samples > rate_hz * (limits.max_audio_s + limits.audio_slack_s):
            raise _too_long(container, kind, limits)
    if not samples:
        raise MediaError(f"the {kind.label} holds no sound")
    return float(samples / rate_hz)


def _check_frame(frame: Any, kind: Kind, limits: MediaLimits) -> None:
    rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
    if not limits.min_rate_hz <= rate_hz <= limits.max_rate_hz:
        taken = f"{limits.min_rate_hz:,} to {limits.max_rate_hz:,} are taken"
        raise MediaError(f"the {kind.label} has {rate_hz:,} samples a second; {taken}")
    if channels > limits.max_channels:
        raise MediaError(f"the {kind.label} has {channels} channels; at most {limits.max_channels} are taken")
    if frame.format.name.startswith(("flt", "dbl")):
        _check_loudness(frame, kind)


def _check_loudness(frame: Any, kind: Kind) -> None:
    try:
        check_loudness(frame.to_ndarray())
    except UnusableMedia as error:
        raise MediaError(str(error).replace("sound", kind.label, 1)) from error


def _too_long(container: Any, kind: Kind, limits: MediaLimits) -> MediaError:
    promised_s = (container.duration or 0) / av.time_base
    length = f"lasts {promised_s:.1f} s" if promised_s > limits.max_audio_s else "is too long"
    return MediaError(f"the {kind.label} {length}; at most {limits.max_audio_s:g} s of sound fit in one part")


def _check_riff_size(data: bytes) -> None:
    # FFmpeg takes a file that ends early for a shorter sound.
    promised = int.from_bytes(data[4:8], "little") + 8
    # A pad byte at the end may be missing.
    if 8 < promised < _UNKNOWN_RIFF_SIZE and len(data) < promised - 1:
        raise MediaError(f"the WAV sound is truncated: its header promises {promised} bytes, {len(data)} are there")
