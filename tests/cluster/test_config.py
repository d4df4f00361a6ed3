"""The configuration file: defaults that work, and mistakes that name their field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from cluster.config import DEFAULT_FAMILY, VARIANT_NAMES, ClusterConfig, ConfigError, load_config, parse_config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its configuration."""
    return tmp_path / "cluster.yaml"


def _sections(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for candidate in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield from _sections(candidate)


def test_the_default_is_a_whole_family() -> None:
    config = load_config(None)
    assert list(config.variants) == list(VARIANT_NAMES)
    assert [config.checkpoint_of(name) for name in VARIANT_NAMES] == [f"{DEFAULT_FAMILY}:{n}" for n in VARIANT_NAMES]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}"])
def test_an_empty_file_is_the_default(file: Path, text: str) -> None:
    file.write_text(text)
    assert load_config(file) == ClusterConfig()


def test_a_file_changes_what_it_names_and_nothing_else(file: Path) -> None:
    file.write_text("gateway: {port: 6000}\nvariants: {31b: {replicas: {min: 0, max: 4}}}")
    config = load_config(file)
    assert (config.gateway.port, config.gateway.host) == (6000, "127.0.0.1")
    assert list(config.variants) == ["31b"]
    assert config.variants["31b"].replicas.max == 4


def test_the_order_of_variants_is_the_files(file: Path) -> None:
    file.write_text("variants: {31b: {}, e2b: {}}")
    assert list(load_config(file).variants) == ["31b", "e2b"]


def test_the_readmes_example_is_valid() -> None:
    import yaml

    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = readme.split("```yaml\n")[1].split("```")[0]
    assert parse_config(yaml.safe_load(example)).variants["31b"].max_context_tokens == 8192


def test_a_config_survives_the_way_to_another_process() -> None:
    config = parse_config({"variants": {"e2b": {"engine": "echo", "cost": 2}}})
    assert parse_config(config.model_dump()) == config


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("gateway: {prot: 1}", "gateway.prot"),
        ("gateway: {port: 0}", "gateway.port"),
        ("gateway: {port: 65536}", "gateway.port"),
        ("gateway: {port: http}", "gateway.port"),
        ("gateway: {max_message_mb: 2048}", "gateway.max_message_mb"),
        ("sessions: {ttl_s: 0}", "sessions.ttl_s"),
        ("sessions: {timeout_s: 0}", "sessions.timeout_s"),
        ("variants: {}", "variants"),
        ("admission: {batch_share: 0}", "admission.batch_share"),
        ("admission: {batch_share: 1}", "admission.batch_share"),
        ("admission: {caller_metadata: X-Caller}", "admission.caller_metadata"),
        ("admission: {caller_metadata: key-bin}", "admission.caller_metadata"),
        ("admission: {caller_metadata: grpc-timeout}", "admission.caller_metadata"),
        ("admission: {callers: {'a b': {}}}", "admission.callers"),
        ("admission: {concurrent_streams: -1}", "admission.concurrent_streams"),
        ("admission: {tokens_per_minute: many}", "admission.tokens_per_minute"),
        ("admission: {lease_s: 0}", "admission.lease_s"),
        ("admission: {callers: {a: {weight: 0}}}", "admission.callers.a.weight"),
        ("admission: {callers: {a: {priority: high}}}", "admission.callers.a.priority"),
        ("variants: {e2b: {engine: magic}}", "variants.e2b.engine"),
        ("variants: {e2b: {replicas: {min: 3, max: 2}}}", "variants.e2b.replicas"),
        ("gateway: {replicas: 3, autoscaling: {max_replicas: 2}}", "gateway: autoscaling"),
        ("gateway: {autoscaling: {max_replicas: 2, stream: 2}}", "gateway.autoscaling.stream"),
        ("variants: {e2b: {autoscaling: {}}}", "variants.e2b: autoscaling"),
        ("variants: {e2b: {replicas: {max: 2}, autoscaling: {ttft: 1}}}", "variants.e2b: autoscaling.ttft"),
        ("variants: {e2b: {replicas: {max: 2}, autoscaling: {gang_size: 9}}}", "variants.e2b: autoscaling.gang_size"),
        ("variants: {e2b: {replicas: {max: 2}, autoscaling: {sequences: 0}}}", "variants.e2b: autoscaling.sequences"),
        ("traces: {sample_ratio: 2}", "traces.sample_ratio"),
        ("variants: {e2b: {replicas: {max: 2}, autoscaling: {itl_s: fast}}}", "variants.e2b.autoscaling.itl_s"),
        ("variants: {e2b: {max_context_tokens: 1}}", "variants.e2b.max_context_tokens"),
        ("variants: {e2b: {prefill_tokens: 8}}", "variants.e2b.prefill_tokens"),
        ("variants: {e2b: {prefill_tokens: 65537}}", "variants.e2b.prefill_tokens"),
        ("variants: {e2b: {tensor_parallel: 0}}", "variants.e2b.tensor_parallel"),
        ("variants: {e2b: {quantization: fp7}}", "variants.e2b.quantization"),
        ("variants: {e2b: {kv_cache_dtype: int3}}", "variants.e2b.kv_cache_dtype"),
        ("variants: {e2b: {gpu_memory_utilization: 1.5}}", "variants.e2b.gpu_memory_utilization"),
        ("variants: {e2b: {cost: -1}}", "variants.e2b.cost"),
        ("variants: {e2b: {dtype: float16}}", "variants.e2b.dtype"),
        ("variants: {e9b: {}}", "variants.e9b"),
        ("variants: {auto: {checkpoint: x}}", "variants.auto"),
        ("variants: {gateway: {checkpoint: x}}", "variants.gateway"),
        ("variants: {'a b': {checkpoint: x}}", "variants.a b"),
        ("routing: {size_classes: [{name: tiny, prefer: []}]}", "routing.size_classes.0.prefer"),
        ("routing: {size_classes: [{name: tiny, prefer: [e9b]}]}", "routing.size_classes"),
        ("routing: {overload_queue: 0}", "routing.overload_queue"),
        ("nonsense: 1", "nonsense"),
        ("[]", "config"),
        ("0", "config"),
        ("just words", "config"),
    ],
)
def test_a_mistake_names_its_field_and_its_file(file: Path, text: str, field: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value).startswith(f"{file}: {field}: ")
    assert "\n" not in str(caught.value)


def test_all_mistakes_come_at_once(file: Path) -> None:
    file.write_text("gateway: {port: 0, prot: 1}\nsessions: {ttl_s: 0}")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert all(field in str(caught.value) for field in ("gateway.port", "gateway.prot", "sessions.ttl_s"))


@pytest.mark.parametrize("data", [b"a: [", b"\tx: 1", b"a: 1: 2", b"\xff\xfe\x00", b"!!python/object:os.system {}"])
def test_what_is_no_yaml_says_so_in_one_line(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value).startswith(f"{file}: not ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml: No such file"):
        load_config(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="directory"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("family", "variant", "checkpoint"),
    [
        ("pocket", "31b", "pocket:31b"),
        ("tiny", "26b-a4b", "tiny:26b-a4b"),
        ("gemma-4", "e2b", "google/gemma-4-E2B-it"),
        ("/models/mine", "e2b", "/models/mine/e2b"),
    ],
)
def test_a_family_says_where_checkpoints_are(family: str, variant: str, checkpoint: str) -> None:
    config = parse_config({"family": family, "variants": {variant: {}}})
    assert config.checkpoint_of(variant) == checkpoint


def test_a_variant_may_have_its_own_checkpoint_under_any_name() -> None:
    config = parse_config({"variants": {"My_Model-2.1": {"checkpoint": "tiny:e2b"}}})
    assert config.checkpoint_of("My_Model-2.1") == "tiny:e2b"


def test_a_size_class_may_prefer_any_variant_that_is_served() -> None:
    row = {"name": "all", "prefer": ["mine"]}
    config = parse_config({"variants": {"mine": {"checkpoint": "x"}}, "routing": {"size_classes": [row]}})
    assert config.routing.size_classes[0].prefer == ["mine"]


@pytest.mark.parametrize(
    ("in_file", "in_environment", "used"),
    [
        (None, None, None),
        (None, "", None),
        (None, "redis://env", "redis://env"),
        ("redis://file", "redis://env", "redis://file"),
    ],
)
def test_the_file_decides_which_redis_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, in_file: str | None, in_environment: str | None, used: str | None
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    if in_environment is not None:
        monkeypatch.setenv("REDIS_URL", in_environment)
    sessions: dict[str, Any] = {} if in_file is None else {"redis_url": in_file}
    assert parse_config({"sessions": sessions}).redis_url == used


@pytest.mark.parametrize("url", ["http://:secret@h", "redis+sentinel://:secret@h", "redis+cluster://:sec/ret@h"])
def test_a_bad_redis_url_is_named_by_its_field_and_its_password_is_nowhere(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    with pytest.raises(ConfigError, match=r"^sessions\.redis_url: must ") as caught:
        parse_config({"sessions": {"redis_url": url}})
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ConfigError, match=r"^REDIS_URL: must ") as of_environment:
        _ = ClusterConfig().redis_url
    for error in (caught.value, of_environment.value):
        assert "sec" not in f"{error} {error.__cause__}"


def test_every_field_is_described_or_is_a_section_that_is() -> None:
    sections = set(_sections(ClusterConfig))
    assert len(sections) >= 7
    for section in sections:
        for name, field in section.model_fields.items():
            described = field.description or getattr(field.annotation, "__doc__", None)
            assert described, f"{section.__name__}.{name}"


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ClusterConfig().gateway.port = 1  # type: ignore[misc]


def test_gateways_are_scaled_by_the_calls_they_carry() -> None:
    gateway = {"replicas": 2, "autoscaling": {"max_replicas": 5, "streams": 64, "down_delay_s": 9}}
    settings = parse_config({"gateway": gateway}).gateway.policy_settings()
    assert settings is not None
    assert (settings.min_replicas, settings.max_replicas) == (2, 5)
    assert (settings.sequences, settings.down_delay_s) == (64, 9)
    fixed = parse_config({"gateway": {"replicas": 3}}).gateway
    assert (fixed.policy_settings(), fixed.max_replicas) == (None, 3)


def test_a_variant_is_scaled_by_what_it_says_of_its_replicas() -> None:
    config = {"variants": {"e2b": {"replicas": {"min": 0, "max": 3}, "max_batch_size": 5, "autoscaling": {"itl_s": 1}}}}
    settings = parse_config(config).variants["e2b"].policy_settings()
    assert (settings.min_replicas, settings.max_replicas, settings.sequences, settings.itl_s) == (0, 3, 5, 1)
