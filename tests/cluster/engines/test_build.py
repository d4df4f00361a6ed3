"""Every engine that a configuration can name is held to the contract."""

from __future__ import annotations

from typing import get_args

from cluster.config import VariantConfig
from tests.cluster.engines.conftest import ENGINES


def test_the_contract_is_held_against_every_engine_of_the_configuration() -> None:
    assert set(get_args(VariantConfig.model_fields["engine"].annotation)) == set(ENGINES) - {"ranks"}
