"""What a gang's ranks get of a replica's configuration, and what is refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.app import build
from cluster.capabilities import read_capabilities
from cluster.checkpoints import resolve_checkpoint
from cluster.config import ConfigError, VariantConfig, parse_config
from cluster.variants.dense import DenseVariant
from cluster.variants.expert_parallel import ExpertParallelVariant, placement
from cluster.variants.shard_gang import rank_config

MOE = "26b-a4b"


def test_ranks_share_what_a_replica_has() -> None:
    whole = VariantConfig(
        expert_ranks=4, num_gpus=4, num_cpus=2, max_batch_size=30, max_queued_requests=8, kv_cache_tokens=4000
    )
    rank = rank_config(whole)
    assert (rank.num_gpus, rank.num_cpus, rank.max_batch_size, rank.max_queued_requests) == (1, 0.5, 8, 2)
    assert rank.kv_cache_tokens == 1000
    assert rank.expert_ranks == 4


@pytest.mark.parametrize(
    ("options", "bundle"),
    [({"num_cpus": 2}, {"CPU": 0.5}), ({"num_cpus": 4, "num_gpus": 4}, {"CPU": 1, "GPU": 1})],
)
def test_every_rank_has_a_bundle_on_as_few_nodes_as_can_be(options: dict[str, Any], bundle: dict[str, float]) -> None:
    made = placement(VariantConfig(expert_ranks=4, **options))
    assert made["placement_group_bundles"] == [bundle] * 4
    assert made["placement_group_strategy"] == "PACK"


def test_the_application_has_a_gang_where_experts_are_spread_and_a_replica_elsewhere() -> None:
    config = {"sessions": {"redis_url": "redis://x"}, "variants": {"e2b": {}, MOE: {"expert_ranks": 2}}}
    app = build(parse_config(config), "app")
    variants = app._bound_deployment.init_args[-1]
    kinds = {name: variant._bound_deployment.func_or_class for name, variant in variants.items()}
    assert issubclass(kinds[MOE], ExpertParallelVariant)
    assert issubclass(kinds["e2b"], DenseVariant)
    assert len(variants[MOE]._bound_deployment._replica_config.placement_group_bundles) == 2


@pytest.mark.parametrize(
    ("variant", "complaint"),
    [
        ({"expert_ranks": 0}, r"variants.26b-a4b.expert_ranks"),
        ({"expert_ranks": 2, "engine": "echo"}, "expert_ranks: the echo engine has none"),
        ({"expert_ranks": 4, "num_gpus": 2}, "num_gpus: 2 GPUs for 4 expert_ranks; use 4, one for each, or 0"),
        ({"expert_ranks": 2, "num_cpus": 0}, "num_cpus: 0 for 2 expert_ranks"),
        ({"expert_copies": 2}, "expert_copies: there is one rank"),
        ({"expert_ranks": 2, "expert_copies": 2, "weights": "int8"}, "expert_copies: int8 experts cannot be moved"),
        ({"rank_timeout_s": 1}, r"variants.26b-a4b.rank_timeout_s"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(variant: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse_config({"variants": {MOE: variant}})


def test_more_copies_than_experts_are_refused() -> None:
    checkpoint = resolve_checkpoint(f"tiny:{MOE}")
    config = VariantConfig(expert_ranks=2, expert_copies=65)
    with pytest.raises(ConfigError, match="65 copies on each of 2 ranks, but only 64"):
        read_capabilities(MOE, config, checkpoint, f"tiny:{MOE}")


@pytest.mark.parametrize(
    ("name", "num_ranks", "complaint"),
    [(MOE, 3, "128 experts cannot be split evenly over 3 ranks.*1, 2, 4, 8, 16, 32, 64, 128"), ("31b", 2, "is dense")],
)
def test_ranks_that_do_not_fit_the_checkpoint_are_refused(name: str, num_ranks: int, complaint: str) -> None:
    checkpoint = resolve_checkpoint(f"tiny:{name}")
    with pytest.raises(ConfigError, match=rf"variants.{name}.expert_ranks: .*{complaint}"):
        read_capabilities(name, VariantConfig(expert_ranks=num_ranks), checkpoint, f"tiny:{name}")
