"""The tiny family: complete, deterministic, loadable by transformers, with varied answers."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer
from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.gemma4.modeling_gemma4 import Gemma4ForConditionalGeneration

from model.chat_template import ChatTemplate
from model.config import LayerKind, ModelConfig
from model.full_attention import FullAttention
from model.runtime.config import RuntimeConfig
from model.runtime.loop import EngineLoop
from model.soft_tokens import SoftTokenRules
from model.tiny import TINY_VARIANTS, ensure_tiny, write_tiny
from model.tiny.__main__ import main
from model.tiny.checkpoint import FORMAT_VERSION
from model.tokenizer import Tokenizer
from model.variants import VARIANTS
from model.weights import load_model, num_parameters
from tests.model.runtime.driver import generate, greedy

VARIANT_NAMES = list(TINY_VARIANTS)
every_variant = pytest.mark.parametrize("variant", VARIANT_NAMES)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


def digests(path: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(path.iterdir())}


def prompt(path: Path, text: str) -> list[int]:
    return ChatTemplate.from_checkpoint(path).encode(
        Tokenizer.from_checkpoint(path), [{"role": "user", "content": text}]
    )


@every_variant
def test_transformers_loads_every_weight(variant: str, cache: Path) -> None:
    _, report = Gemma4ForConditionalGeneration.from_pretrained(ensure_tiny(variant, cache), output_loading_info=True)
    assert not any(report.values()), report


@every_variant
def test_logits_equal_transformers(variant: str, cache: Path) -> None:
    path = ensure_tiny(variant, cache)
    ids = torch.tensor(prompt(path, "Which way to the station, please? " * 8))
    assert len(ids) > TINY_VARIANTS[variant].text.sliding_window
    reference = Gemma4ForConditionalGeneration.from_pretrained(path)
    with torch.inference_mode():
        ours = load_model(path)(ids, torch.arange(len(ids)), FullAttention([len(ids)]))
        theirs = reference(input_ids=ids[None]).logits[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(theirs.abs().max()))


@every_variant
def test_greedy_answers_vary(variant: str, cache: Path) -> None:
    path = ensure_tiny(variant, cache)
    prompts = [prompt(path, text) for text in ("Hello", "What is 2 + 2?")]
    with EngineLoop.from_checkpoint(path, RuntimeConfig(num_threads=1)) as loop:
        answers = generate(loop, prompts, [greedy(64)] * 2)
    assert all(len(set(answer.tokens)) >= 16 for answer in answers)


@every_variant
def test_each_has_the_structure_of_its_published_model(variant: str) -> None:
    tiny, real = TINY_VARIANTS[variant], VARIANTS[variant]
    assert tiny.modalities == real.modalities
    assert tiny.eos_token_ids == real.eos_token_ids
    for text in (tiny.text, real.text):
        assert text.layer_kinds[-1] is LayerKind.GLOBAL
    for feature in ("has_double_wide_shared_mlp", "has_tied_embeddings", "final_logit_softcap"):
        assert getattr(tiny.text, feature) == getattr(real.text, feature)
    for kind in LayerKind:
        assert tiny.text.attention(kind).k_is_v == real.text.attention(kind).k_is_v
        assert tiny.text.attention(kind).rope == real.text.attention(kind).rope
    assert bool(tiny.text.num_kv_shared_layers) == bool(real.text.num_kv_shared_layers)
    assert bool(tiny.text.per_layer_size) == bool(real.text.per_layer_size)
    if real.text.moe is not None and tiny.text.moe is not None:
        assert (tiny.text.moe.num_experts, tiny.text.moe.top_k) == (128, 8)
    assert (tiny.text.moe is None) == (real.text.moe is None)
    assert 300_000 < num_parameters(tiny.text) < 800_000


@every_variant
def test_config_and_processors_are_read_back(variant: str, cache: Path) -> None:
    path = ensure_tiny(variant, cache)
    assert ModelConfig.from_checkpoint(path) == TINY_VARIANTS[variant]
    rules = SoftTokenRules.from_checkpoint(path)
    assert (rules.max_image_tokens, rules.max_audio_tokens, rules.max_frames) == (280, 750, 32)
    assert Gemma4ImageProcessorPil.from_pretrained(path).max_soft_tokens == 280
    if "audio" in TINY_VARIANTS[variant].modalities:
        assert Gemma4AudioFeatureExtractor.from_pretrained(path).sampling_rate == 16_000


def test_control_tokens_have_their_ids(cache: Path) -> None:
    path = ensure_tiny("e2b", cache)
    tokenizer = Tokenizer.from_checkpoint(path)
    config = json.loads((path / "config.json").read_text())
    assert tokenizer.encode('<pad><eos><bos><|turn>\n<turn|><|"|>') == [0, 1, 2, 105, 107, 106, 52]
    assert tokenizer.encode("<|image|><|audio|><|video|>") == [
        config["image_token_id"],
        config["audio_token_id"],
        config["video_token_id"],
    ]
    assert len(tokenizer.special_ids) == 24
    assert tokenizer.vocab_size == config["text_config"]["vocab_size"]
    assert AutoTokenizer.from_pretrained(path).image_token_id == config["image_token_id"]


@every_variant
def test_each_is_written_in_seconds_and_byte_for_byte_the_same(variant: str, cache: Path, tmp_path: Path) -> None:
    started = time.process_time()
    write_tiny(variant, tmp_path / "again")
    assert time.process_time() - started < 3.0
    assert digests(tmp_path / "again") == digests(ensure_tiny(variant, cache))


def test_another_process_writes_the_same_bytes(cache: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "model.tiny", "--out", str(tmp_path), "--variant", "26b-a4b"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert "26b-a4b" in result.stdout
    assert digests(tmp_path / "26b-a4b") == digests(ensure_tiny("26b-a4b", cache))


def test_writing_replaces_what_was_there_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "e2b").mkdir()
    (tmp_path / "e2b" / "stale").touch()
    write_tiny("e2b", tmp_path / "e2b")
    assert [entry.name for entry in tmp_path.iterdir()] == ["e2b"]
    assert sorted(file.name for file in (tmp_path / "e2b").iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_processes_that_ask_at_once_share_one_copy(tmp_path: Path) -> None:
    program = "import sys, pathlib, model.tiny; print(model.tiny.ensure_tiny('31b', pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", program, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert paths == {str(tmp_path / f"v{FORMAT_VERSION}" / "31b")}
    assert ModelConfig.from_checkpoint(Path(paths.pop())) == TINY_VARIANTS["31b"]


def test_a_second_call_writes_nothing(cache: Path) -> None:
    file = ensure_tiny("e4b", cache) / "model.safetensors"
    before = file.stat()
    ensure_tiny("e4b", cache)
    assert file.stat() == before


def test_the_cache_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ensure_tiny("e2b") == tmp_path / "gemma-cluster" / "tiny" / f"v{FORMAT_VERSION}" / "e2b"


def test_an_unknown_variant_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="12b"):
        write_tiny("12b", tmp_path / "x")
    with pytest.raises(ValueError, match="12b"):
        ensure_tiny("12b", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "examples:" in capsys.readouterr().out
