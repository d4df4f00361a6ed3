"""Checkpoints are found by name: tiny ones, folders, and Hugging Face repositories served by a small local hub."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster import checkpoints
from cluster.checkpoints import check_checkpoint, resolve_checkpoint
from model.checkpoint import CheckpointError
from model.config import ModelConfig
from model.variants import VARIANTS

REVISION = "1" * 40
RESOLVE = """
import sys
from cluster.checkpoints import resolve_checkpoint
from model.checkpoint import CheckpointError
try:
    print(resolve_checkpoint(sys.argv[1], tokenizer_only=sys.argv[2] == "True"))
except CheckpointError as error:
    print("CheckpointError:", error)
"""
REPOSITORY_FILES = {
    "README.md": b"about",
    "config.json": json.dumps(VARIANTS["e2b"].to_hf()).encode(),
    "generation_config.json": b"{}",
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "processor_config.json": b"{}",
    "preprocessor_config.json": b"{}",
    "model.safetensors.index.json": b"{}",
    "model-00001-of-00002.safetensors": b"weights 1",
    "model-00002-of-00002.safetensors": b"weights 2",
    "model.gguf": b"another format",
    "original/model.safetensors": b"another layout",
    "pytorch_model.bin": b"another format",
}
GATEWAY_FILES = {name for name in REPOSITORY_FILES if name.endswith((".json", ".jinja")) and not name.endswith(".md")}
WEIGHTS = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}


@dataclass
class Hub:
    """Speaks enough of the hub's protocol for snapshot_download; `refusal` is (status, error code) for all paths."""

    endpoint: str
    files: dict[str, bytes] = field(default_factory=lambda: dict(REPOSITORY_FILES))
    refusal: tuple[int, str] | None = None
    asked_for: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path."""
        self.asked_for.append(path)
        if self.refusal is not None:
            return self.refusal[0], {"X-Error-Code": self.refusal[1]}, b""
        if path.startswith("/api/models/google/gemma/revision/"):
            return 200, {}, json.dumps({"id": "google/gemma", "sha": REVISION, "siblings": []}).encode()
        if path.startswith(f"/api/models/google/gemma/tree/{REVISION}"):
            return 200, {}, json.dumps([self._entry(name) for name in self.files]).encode()
        name = path.removeprefix(f"/google/gemma/resolve/{REVISION}/")
        if name in self.files:
            headers = {"ETag": f'"{_digest(self.files[name])}"', "X-Repo-Commit": REVISION}
            return 200, headers, self.files[name]
        return 404, {"X-Error-Code": "RepoNotFound"}, b""

    def _entry(self, name: str) -> dict[str, object]:
        return {
            "type": "file",
            "path": name,
            "size": len(self.files[name]),
            "oid": _digest(self.files[name]),
        }


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub with one repository, google/gemma."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_args: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


def _digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def _resolve(
    hub: Hub, cache: Path, name: str = "google/gemma", *, tokenizer_only: bool = False, **environment: str
) -> str:
    """What resolve_checkpoint gives in a process of its own, since the hub's address is read at import."""
    variables = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        **environment,
    }
    command = [sys.executable, "-c", RESOLVE, name, str(tokenizer_only)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def _names(folder: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def test_a_replica_gets_weights_and_everything_beside_them(hub: Hub, tmp_path: Path) -> None:
    folder = _resolve(hub, tmp_path)
    assert _names(folder) == GATEWAY_FILES | WEIGHTS
    assert ModelConfig.from_checkpoint(Path(folder)).text == VARIANTS["e2b"].text


def test_a_gateway_gets_no_weights(hub: Hub, tmp_path: Path) -> None:
    assert _names(_resolve(hub, tmp_path, tokenizer_only=True)) == GATEWAY_FILES
    assert not any(".safetensors" in path and "index" not in path for path in hub.asked_for)


def test_what_is_in_the_cache_needs_no_hub(hub: Hub, tmp_path: Path) -> None:
    folder = _resolve(hub, tmp_path)
    hub.refusal = (503, "")
    assert _resolve(hub, tmp_path) == folder
    assert _resolve(hub, tmp_path, HF_HUB_OFFLINE="1") == folder
    assert _resolve(hub, tmp_path, HF_ENDPOINT="http://127.0.0.1:1") == folder


def test_a_gateways_copy_is_not_taken_for_a_replicas(hub: Hub, tmp_path: Path) -> None:
    _resolve(hub, tmp_path, tokenizer_only=True)
    assert "copy is not complete" in _resolve(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert _names(_resolve(hub, tmp_path)) == GATEWAY_FILES | WEIGHTS


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository_says_to_accept_the_licence(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.refusal = (status, "GatedRepo")
    answer = _resolve(hub, tmp_path)
    assert answer.startswith("CheckpointError: checkpoint google/gemma: access is gated")
    assert f"accept the licence at {hub.endpoint}/google/gemma and set HF_TOKEN" in answer


def test_an_unknown_repository_says_to_check_the_name(hub: Hub, tmp_path: Path) -> None:
    assert "does not exist, or is private; check the name" in _resolve(hub, tmp_path, "google/other")


@pytest.mark.parametrize(
    "offline", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:1"}], ids=["told", "no network"]
)
def test_without_network_it_says_what_to_do(hub: Hub, tmp_path: Path, offline: dict[str, str]) -> None:
    answer = _resolve(hub, tmp_path, **offline)
    assert "is not in the cache" in answer
    assert "give its folder as the checkpoint" in answer


def test_a_repository_without_safetensors_is_refused(hub: Hub, tmp_path: Path) -> None:
    for name in WEIGHTS:
        del hub.files[name]
    assert "has no *.safetensors weights" in _resolve(hub, tmp_path)


def test_a_token_is_sent_and_never_shown(hub: Hub, tmp_path: Path) -> None:
    hub.refusal = (403, "")
    answer = _resolve(hub, tmp_path, HF_TOKEN="hf_secret")
    assert answer.startswith("CheckpointError")
    assert "hf_secret" not in answer


def test_a_folder_is_itself(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert resolve_checkpoint(str(tmp_path), tokenizer_only=True) == tmp_path
    with pytest.raises(CheckpointError, match=r"has no \*\.safetensors weights"):
        resolve_checkpoint(str(tmp_path))


def test_a_folder_beats_a_repository_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "google" / "gemma"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert resolve_checkpoint("google/gemma", tokenizer_only=True) == Path("google/gemma")
    with pytest.raises(CheckpointError, match="google has no folder gemma-2"):
        resolve_checkpoint("google/gemma-2")


def test_a_path_is_never_looked_for_on_the_hub(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    for name, words in [
        (str(tmp_path / "none"), "no such folder"),
        ("./none/there", "no such folder"),
        ("none", "no such folder"),
        ("", "has no config.json"),
        (str(file), "is a file; give the folder it is in"),
        (str(tmp_path), "has no config.json"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            resolve_checkpoint(name)


def test_tiny_checkpoints_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = resolve_checkpoint("tiny:e2b")
    assert folder == resolve_checkpoint("tiny:e2b", tokenizer_only=True)
    assert folder.is_relative_to(tmp_path)
    assert "audio" in ModelConfig.from_checkpoint(folder).modalities


def test_an_unknown_tiny_variant_names_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"tiny:e9: .*e2b"):
        resolve_checkpoint("tiny:e9")


def test_a_pocket_checkpoint_is_the_packages_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "POCKET_CHECKPOINTS", tmp_path)
    with pytest.raises(CheckpointError, match=r"pocket:e9: .*e2b"):
        resolve_checkpoint("pocket:e9")
    with pytest.raises(CheckpointError, match=rf"pocket:e2b: .*{tmp_path / 'e2b'}.*family"):
        resolve_checkpoint("pocket:e2b")
    (tmp_path / "e2b").mkdir()
    (tmp_path / "e2b/config.json").write_text("{}")
    assert resolve_checkpoint("pocket:e2b", tokenizer_only=True) == tmp_path / "e2b"
    with pytest.raises(CheckpointError, match="has no"):
        resolve_checkpoint("pocket:e2b")


@pytest.mark.parametrize("name", ["/no/such", "no:such", "pocket:e9", "{}", "{}/file"])
def test_a_wrong_name_is_told_without_a_network(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="checkpoint "):
        check_checkpoint(name.format(tmp_path))


def test_a_name_that_may_be_right_passes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for name in (str(tmp_path), "tiny:e2b", "google/gemma-4-E2B-it"):
        check_checkpoint(name)
