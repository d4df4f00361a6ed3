"""The access log of a gateway over real gRPC: a line a call, what is in it, and what must never be."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.client import Client, request
from cluster.config import LogsConfig
from cluster.errors import InvalidRequest, NotFound, NoVariant
from cluster.gateway.access_log import close_access_log, open_access_log
from tests.cluster.gateway.local_gateway import SMALL
from tests.e2e.up_process import eventually

SECRET = "xylophone-4711"


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "access.log"
    close_access_log()


def _calls(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_call_that_ended_well_has_its_line(path: Path, client: Client) -> None:
    open_access_log(LogsConfig(file=str(path)))
    named = request("one two three", model=SMALL)
    named.request_id = "mine:1"
    answer = client.raw_generate(named)
    (call,) = _calls(path)
    assert (call["method"], call["status"], call["error"]) == ("Generate", "OK", "")
    assert (call["request_id"], call["variant"], call["reasons"]) == ("mine:1", SMALL, ["MODEL_REQUESTED"])
    assert call["prompt_tokens"] == answer.usage.prompt_tokens
    assert call["output_tokens"] == answer.usage.output_tokens
    assert 0 < call["first_token_ms"] <= call["duration_ms"]
    assert len(call["peer"]) == 16
    assert "127.0.0.1" not in path.read_text()


def test_text_lines_have_the_same(path: Path, client: Client) -> None:
    open_access_log(LogsConfig(format="text", file=str(path)))
    client.generate("hi", model=SMALL)
    (line,) = path.read_text().splitlines()
    assert f'status="OK" error="" variant="{SMALL}"' in line


def test_off_writes_nothing(path: Path, client: Client) -> None:
    open_access_log(LogsConfig(format="off", file=str(path)))
    client.generate("hi", model=SMALL)
    assert not path.exists()


def test_nothing_that_a_call_says_is_logged(path: Path, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    open_access_log(LogsConfig(file=str(path)))
    caplog.set_level(logging.DEBUG)
    assert SECRET in "".join(part.text for part in client.generate(SECRET, model=SMALL).content.parts)
    list(client.stream(SECRET, model=SMALL))
    with pytest.raises(InvalidRequest):
        client.generate(SECRET, model=SMALL, max_output_tokens=-1)
    with pytest.raises(NoVariant):
        client.generate(SECRET * 100_000, model=SMALL)
    with pytest.raises(NotFound):
        client.generate(SECRET, session="none-such")
    eventually(lambda: len(_calls(path)) == 5)  # an error's status leaves before its line is written
    statuses = [call["status"] for call in _calls(path)]
    assert statuses == ["OK", "OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND"]
    assert SECRET not in path.read_text()
    assert SECRET not in caplog.text
