"""Page keys: equal exactly where all that decides a page's content is equal."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from model.runtime.page_keys import PageKeys
from model.runtime.prompt_media import NamedSpan, PromptMedia
from model.soft_rows import SoftTokens

TOKENS = st.lists(st.integers(0, 3), min_size=0, max_size=24)
NO_SOFT = SoftTokens(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 1))


def keys(tokens: list[int], *spans: NamedSpan) -> list[bytes]:
    media = PromptMedia(NO_SOFT, None, spans) if spans else None
    return PageKeys(tokens, media, 4).first(len(tokens) // 4)


@given(TOKENS, TOKENS)
def test_keys_are_equal_exactly_up_to_where_the_tokens_are(first: list[int], second: list[int]) -> None:
    for number, (a, b) in enumerate(zip(keys(first), keys(second), strict=False), start=1):
        assert (a == b) == (first[: 4 * number] == second[: 4 * number])


def test_keys_grow_with_the_tokens() -> None:
    tokens = [1, 2, 3, 4]
    growing = PageKeys(tokens, None, 4)
    assert growing[0] == keys(tokens)[0]
    tokens += [5, 6, 7, 8, 9]
    assert [growing[1], growing[0]] == keys(tokens)[::-1]


def test_a_medium_marks_the_pages_it_reaches_into_and_all_behind_them() -> None:
    tokens = [0] * 20
    plain, cat, dog = keys(tokens), keys(tokens, NamedSpan(5, 9, b"cat")), keys(tokens, NamedSpan(5, 9, b"dog"))
    assert plain[0] == cat[0] == dog[0]
    for same in range(1, 5):
        assert len({plain[same], cat[same], dog[same]}) == 3


def test_a_medium_that_begins_on_the_next_page_leaves_a_page_alone() -> None:
    tokens = [0] * 8
    assert keys(tokens, NamedSpan(4, 6, b"cat"))[0] == keys(tokens)[0]
    assert keys(tokens, NamedSpan(0, 4, b"cat"))[1] != keys(tokens)[1]  # by the key before it
