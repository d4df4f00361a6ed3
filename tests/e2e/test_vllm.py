"""vLLM as a replica of the whole system, on the CPU: started by `up`, asked through the gateway, cancelled, stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from cluster.client import Client
from protos.gemmacluster.v1 import admin_pb2, admin_pb2_grpc
from protos.gemmacluster.v1.content_pb2 import ROLE_USER, Blob, Content, Part
from tests.cluster.engines.vllm_here import needs_vllm
from tests.cluster.media_samples import image
from tests.cluster.taught_answers import ASK, TOOL, write_taught_answers
from tests.e2e.up_process import running_up
from tests.ports import free_port

pytestmark = list(needs_vllm)
CONFIG = """
gateway: {{port: {port}}}
variants:
  taught: {{checkpoint: {taught}, engine: vllm, num_threads: 1, dtype: float32, max_context_tokens: 1024}}
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Of a cluster with one variant, on vLLM. Nothing of it may be left at the end."""
    folder = tmp_path_factory.mktemp("vllm")
    taught = write_taught_answers(folder / "taught")
    config = CONFIG.format(port=free_port(), taught=json.dumps(str(taught)))
    with running_up(folder, config) as process, Client(process.address, timeout_s=60) as client:
        yield client


def test_thoughts_calls_and_usage_come_as_from_any_engine(client: Client) -> None:
    answer = client.generate(ASK.contents, tools=[TOOL], thinking=True, temperature=0)
    thought, call = answer.content.parts
    assert (thought.text, thought.thought) == ("I must look.", True)
    assert dict(call.function_call.args) == {"city": "Paris", "days": 3}
    assert 0 < answer.usage.thought_tokens < answer.usage.output_tokens


def test_an_image_is_counted_as_it_is_elsewhere(client: Client) -> None:
    picture = Blob(mime_type="image/png", data=image("PNG", 640, 480))
    contents = [Content(role=ROLE_USER, parts=[Part(inline_data=picture), Part(text="What is it?")])]
    answer = client.generate(contents, max_output_tokens=4)
    assert answer.usage.prompt_tokens > 200


def test_a_stream_that_is_left_frees_its_slot(client: Client) -> None:
    never = {1: -100.0, 50: -100.0, 106: -100.0}
    with closing(client.stream("Tell me all", max_output_tokens=900, logit_bias=never)) as pieces:
        next(pieces)
        assert _running(client) == 1
    deadline = time.monotonic() + 10
    while _running(client) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _running(client) == 0


def _running(client: Client) -> int:
    loads = admin_pb2_grpc.AdminServiceStub(client._channel).GetLoads(admin_pb2.GetLoadsRequest()).loads
    return sum(load.running_requests + load.waiting_requests for load in loads)
