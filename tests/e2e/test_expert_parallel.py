"""Experts spread over a gang of shards: the answers of one process, memory shared out, and a lost shard replaced."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import psutil
import pytest

from cluster.client import Client, Piece
from model.tiny.family import TINY_26B_A4B
from protos.gemmacluster.v1 import content_pb2
from protos.gemmacluster.v1.admin_pb2 import GetLoadsRequest, ReplicaLoad
from protos.gemmacluster.v1.admin_pb2_grpc import AdminServiceStub
from tests.cluster.media_samples import image
from tests.e2e.up_process import gateway_process, running_up
from tests.ports import free_port

NUM_RANKS, RANK_TIMEOUT_S = 2, 3.0
CONFIG = """
family: tiny
gateway: {{port: {port}}}
variants:
  26b-a4b: {{expert_ranks: {ranks}, rank_timeout_s: {timeout}, max_context_tokens: 2048, num_threads: 1}}
  whole: {{checkpoint: "tiny:26b-a4b", max_context_tokens: 2048, num_threads: 1}}
"""
PROMPTS = ["Why is the sky blue?", "Count.", "One two three four five six seven eight nine ten. " * 6, "And at night?"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_up(
        tmp_path_factory.mktemp("gang"), CONFIG.format(port=free_port(), ranks=NUM_RANKS, timeout=RANK_TIMEOUT_S)
    ) as process:
        yield process.address


def shards(address: str) -> list[psutil.Process]:
    raylet = gateway_process(address).parent()
    assert raylet is not None
    return [child for child in raylet.children(recursive=True) if "ray::Shard" in " ".join(child.cmdline())]


def load(address: str) -> ReplicaLoad:
    with grpc.insecure_channel(address) as channel:
        return AdminServiceStub(channel).GetLoads(GetLoadsRequest(variant="26b-a4b"), timeout=10).loads[0]


def answer(address: str, variant: str, prompt: str, num_images: int = 0) -> content_pb2.Content:
    blobs = [content_pb2.Blob(mime_type="image/png", data=image("PNG", 90 + 60 * n, 60)) for n in range(num_images)]
    parts = [*(content_pb2.Part(inline_data=blob) for blob in blobs), content_pb2.Part(text=prompt)]
    with Client(address, timeout_s=60) as client:
        said = client.generate(content_pb2.Content(parts=parts), model=variant, temperature=0, max_output_tokens=12)
    assert said.routing.variant == variant
    return said.content


def test_answers_are_those_of_a_replica_with_all_experts(address: str) -> None:
    jobs = [(prompt, 0) for prompt in PROMPTS] + [("What is this?", 1), ("And these?", 2)]
    with ThreadPoolExecutor(len(jobs)) as pool:
        whole = list(pool.map(lambda job: answer(address, "whole", *job), jobs))
        spread = list(pool.map(lambda job: answer(address, "26b-a4b", *job), jobs))
    assert spread == whole


def test_each_rank_reports_its_share_of_the_experts(address: str) -> None:
    moe, config = TINY_26B_A4B.text.moe, TINY_26B_A4B.text
    assert moe is not None
    in_all = config.num_layers * moe.num_experts * 3 * moe.expert_size * config.hidden_size * 4
    assert [(rank.rank, rank.expert_bytes) for rank in load(address).ranks] == [
        (number, in_all // NUM_RANKS) for number in range(NUM_RANKS)
    ]


def test_requests_are_spread_over_the_ranks_and_a_cancelled_one_frees_its_slot(address: str) -> None:
    with Client(address, timeout_s=60) as client:
        streams = [client.stream("Go on.", model="26b-a4b", max_output_tokens=1500) for _ in range(4)]
        for stream in streams:
            next(stream)
        assert [rank.running_requests for rank in load(address).ranks] == [2, 2]
        for stream in streams:
            stream.close()
        ends_at = time.monotonic() + 5
        while any(rank.running_requests for rank in load(address).ranks):
            assert time.monotonic() < ends_at


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_streams_of_a_gang_that_lost_a_shard_go_on_on_the_one_that_replaces_it(
    address: str, how: signal.Signals
) -> None:
    with Client(address, timeout_s=150) as client:
        undisturbed = text(long_stream(client))
        before = shards(address)
        assert len(before) == NUM_RANKS
        streams = [long_stream(client) for _ in range(4)]
        begun = [next(stream) for stream in streams]
        before[0].send_signal(how)
        assert [text([first, *rest]) for first, rest in zip(begun, streams, strict=True)] == [undisturbed] * 4
    _, alive = psutil.wait_procs(before, timeout=20)
    assert alive == []
    assert len(shards(address)) == NUM_RANKS


def long_stream(client: Client) -> Iterator[Piece]:
    return client.stream("Go on.", model="26b-a4b", max_output_tokens=400, temperature=0)


def text(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces)
