"""gemma-cluster plan: a table and YAML for people, JSON for programs, one line for mistakes; without the server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from cluster.cli import app
from cluster.config import parse_config
from cluster.planning.gpus import GPUS

ROOT = Path(__file__).parents[2]
EXAMPLE = ("--gpu", "h100", "--variant", "26b-a4b", "--context", "32k")


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments], env={"COLUMNS": "200"})


def test_the_answer_comes_first_and_the_configuration_last() -> None:
    result = command(*EXAMPLE)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "26b-a4b on H100 80 GB, 32,768 tokens of context, bf16 weights, bf16 KV cache, vllm engine"
    assert lines[1].startswith("fits on 1 GPU: 22 sequences of full length, ")
    assert all(len(line) <= 130 for line in lines)
    config = parse_config(yaml.safe_load(result.stdout[result.stdout.index("family:") :]))
    assert config.variants["26b-a4b"].max_context_tokens == 32_768


def test_the_table_has_a_row_for_each_number_of_gpus() -> None:
    rows = [line.split() for line in command(*EXAMPLE).stdout.splitlines() if line[:6].strip().isdigit()]
    assert [row[0] for row in rows] == ["1", "2", "4", "8"]
    assert rows[0][-2:] == ["<-", "this"]


def test_what_does_not_fit_says_by_how_much_and_what_would() -> None:
    result = command("--gpu", "a100-40", "--variant", "31b", "--count", "2")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "does not fit: 2 GPUs a replica would lack 2.1 GiB each" in result.stdout
    assert "--quantization w4a16: fits on 1 GPU" in result.stdout
    assert "family:" not in result.stdout


def test_replicas_are_planned_for_the_gpus_at_hand() -> None:
    result = command("--gpu", "l40s", "--variant", "31b", "--count", "8")
    assert "4 replicas on 8 GPUs" in result.stdout
    assert "replicas: {min: 4, max: 4}" in result.stdout
    assert "no NVLink" in result.stdout


def test_json_says_the_same() -> None:
    report = json.loads(command(*EXAMPLE, "--json").stdout)
    assert (report["fits"], report["gpus_per_replica"], report["layouts"][0]["sequences"]) == (True, 1, 22)
    assert parse_config(yaml.safe_load(report["config"])).variants["26b-a4b"].engine == "vllm"
    result = command("--gpu", "l4", "--variant", "31b", "--count", "1", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["fits"], report["config"], report["gpus_per_replica"]) == (1, False, None, None)
    assert report["layouts"][0]["missing_bytes"] > 0
    assert report["alternatives"]


def test_the_known_gpus_are_listed() -> None:
    result = command("--gpu", "list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == list(GPUS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpu", "h10", "--variant", "31b"], "unknown GPU 'h10': did you mean h100 or h200?"),
        (["--gpu", "h100", "--variant", "27b"], "unknown variant '27b': did you mean"),
        (["--gpu", "h100"], "name a variant"),
        (["--gpu", "h100", "--variant", "31b", "--context", "lots"], "context 'lots'"),
        (["--gpu", "h100", "--variant", "e2b", "--context", "1m"], "e2b takes 1 to 131,072 tokens"),
        (["--gpu", "h100", "--variant", "31b", "--count", "0"], "at least 1"),
        (["--gpu", "h100", "--variant", "31b", "--quantization", "int8"], "use fp8 or w4a16"),
        (["--gpu", "h100", "--variant", "31b", "--engine", "trt"], "unknown engine 'trt'"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments: list[str], said: str) -> None:
    result = command(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert result.stderr.startswith("gemma-cluster: ")
    assert result.stderr.count("\n") == 1


def test_help_shows_examples_and_where_the_gpus_are_listed() -> None:
    text = command("--help").stdout
    assert "gemma-cluster plan --gpu h100 --variant 26b-a4b --context 32k" in text
    assert "gemma-cluster plan --gpu list" in text


def test_the_base_install_can_plan() -> None:
    missing = ("ray", "torch", "redis", "yaml", "tokenizers", "numpy", "safetensors", "psutil", "huggingface_hub")
    blocked = f"import sys; sys.modules.update(dict.fromkeys({missing!r})); from cluster.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", blocked, "plan", *EXAMPLE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == command(*EXAMPLE).stdout
