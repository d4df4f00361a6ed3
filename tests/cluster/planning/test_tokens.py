"""Numbers of tokens as people write them."""

from __future__ import annotations

import pytest

from cluster.planning.errors import PlanError
from cluster.planning.tokens import parse_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("8192", 8192), ("32k", 32_768), ("128K", 131_072), ("1m", 1_048_576), ("32_768", 32_768), (" 8,192 ", 8192)],
)
def test_numbers_are_read(text: str, tokens: int) -> None:
    assert parse_tokens(text) == tokens


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5k", "32kb", "lots", "9" * 40])
def test_what_is_no_number_says_so(text: str) -> None:
    with pytest.raises(PlanError, match="such as 8192 or 32k"):
        parse_tokens(text)
