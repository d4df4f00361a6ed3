"""Hostile media over gRPC: each is refused by its field with words, and whoever else is served goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cluster.client import Client
from cluster.errors import InvalidRequest
from protos.gemmacluster.v1 import content_pb2
from tests.cluster import hostile_samples as hostile
from tests.cluster.media_samples import SAMPLES, image, mp4
from tests.cluster.test_hostile_media import REFUSED
from tests.e2e.conftest import RunningCluster
from tests.e2e.up_process import gateway_process

FIELD = "contents[0].parts[1].inline_data"
CUT = {f"half of {kind}": (kind, data[: len(data) // 2], "truncated") for kind, data in SAMPLES.items()}
# Half an MP3 is a shorter MP3.
HOSTILE = {**REFUSED, **{name: case for name, case in CUT.items() if "mpeg" not in name}}
ODD = {
    "8 bit": ("audio/wav", hostile.wav_of((hostile.TONE * 127 + 128).astype(np.uint8))),
    "24 bit": ("audio/wav", hostile.wav_24_bit()),
    "float": ("audio/wav", hostile.wav_of(hostile.TONE.astype("<f4"))),
    "30 channels": ("audio/wav", hostile.wav_of(np.repeat(hostile.TONE * 2**14, 30).astype("<i2"), channels=30)),
    "CMYK": ("image/jpeg", image("JPEG", 30, 50, "CMYK")),
    "16 bit": ("image/png", image("PNG", 30, 50, "I;16")),
    "palette": ("image/png", image("PNG", 30, 50, "P")),
    "grey with alpha": ("image/png", image("PNG", 30, 50, "LA")),
    "one pixel": ("image/webp", image("WEBP", 1, 1)),
    "100,000 frames": ("image/gif", hostile.gif_of_frames(100_000)),
    "one frame": ("video/mp4", mp4(1)),
}


def with_medium(mime_type: str, data: bytes) -> content_pb2.Content:
    """Text, then the medium."""
    blob = content_pb2.Blob(mime_type=mime_type, data=data)
    return content_pb2.Content(parts=[content_pb2.Part(text="look:"), content_pb2.Part(inline_data=blob)])


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_an_invalid_argument_that_names_its_field(client: Client, name: str) -> None:
    mime_type, data, words = HOSTILE[name]
    with pytest.raises(InvalidRequest) as caught:
        client.generate(with_medium(mime_type, data), max_output_tokens=1)
    (violation,) = caught.value.violations
    assert violation.field == FIELD
    assert words in violation.description


@pytest.mark.parametrize("name", ODD)
def test_an_odd_but_honest_file_is_answered(client: Client, name: str) -> None:
    assert client.generate(with_medium(*ODD[name]), model="e2b", max_output_tokens=2).usage.output_tokens >= 1


def test_text_streams_on_while_hostile_media_are_refused(cluster: RunningCluster, client: Client) -> None:
    gateway = gateway_process(cluster.address)
    before = gateway.memory_info().rss
    with ThreadPoolExecutor(1) as pool:
        gaps = pool.submit(lambda: list(_gaps(client)))
        rounds = 0
        while not gaps.done():
            for mime_type, data, _ in HOSTILE.values():
                with pytest.raises(InvalidRequest), Client(cluster.address, timeout_s=60) as other:
                    other.route(with_medium(mime_type, data))
            rounds += 1
    assert rounds >= 1
    assert len(gaps.result()) > 100
    assert max(gaps.result()) < 5
    assert gateway.memory_info().rss - before < 256 * 1024 * 1024


def _gaps(client: Client) -> Iterator[float]:
    """Seconds between pieces of a stream of plain text."""
    last = time.perf_counter()
    for _ in client.stream("count " * 300, model="e2b", max_output_tokens=600, temperature=1.0, seed=1):
        now = time.perf_counter()
        yield now - last
        last = now
