"""The page pool: who holds what, what is found again, and what goes first."""

import pytest

from model.runtime.page_pool import PagePool


def test_blank_pages_come_lowest_first() -> None:
    pool = PagePool(4)
    assert pool.allocate(2) == [0, 1]
    assert (pool.num_free, pool.num_used) == (2, 2)


def test_more_than_is_free_is_refused_and_changes_nothing() -> None:
    pool = PagePool(3)
    pool.allocate(2)
    with pytest.raises(IndexError, match="2 pages asked for, 1 free"):
        pool.allocate(2)
    assert pool.num_free == 1


def test_a_page_is_free_when_its_last_holder_lets_go() -> None:
    pool = PagePool(1)
    pages = pool.allocate(1)
    pool.hold(pages)
    pool.release(pages)
    assert pool.num_free == 0
    pool.release(pages)
    assert pool.num_free == 1


def test_a_published_page_is_found_until_it_is_given_away() -> None:
    pool = PagePool(2)
    (page,) = pool.allocate(1)
    pool.publish(page, b"a")
    pool.release([page])
    assert pool.find(b"a") == page
    assert pool.allocate(1) == [1]  # the blank one first
    assert pool.find(b"a") == page
    assert pool.allocate(1) == [page]
    assert pool.find(b"a") is None


def test_kept_pages_go_the_longest_unused_first() -> None:
    pool = PagePool(3)
    pages = pool.allocate(3)
    for page, key in zip(pages, (b"a", b"b", b"c"), strict=True):
        pool.publish(page, key)
    pool.release(pages)
    pool.hold([pages[0]])
    pool.release([pages[0]])
    assert pool.allocate(2) == [pages[1], pages[2]]
    assert pool.find(b"a") == pages[0]


def test_a_held_page_is_never_given_away() -> None:
    pool = PagePool(2)
    pages = pool.allocate(2)
    for page, key in zip(pages, (b"a", b"b"), strict=True):
        pool.publish(page, key)
    pool.release(pages)
    pool.hold([pages[0]])
    assert pool.allocate(1) == [pages[1]]
    assert pool.num_free == 0


def test_of_equal_pages_the_first_is_found() -> None:
    pool = PagePool(2)
    pages = pool.allocate(2)
    for page in pages:
        pool.publish(page, b"a")
    assert pool.find(b"a") == pages[0]
    pool.release(pages)
    assert pool.allocate(1) == [pages[1]]  # known under no key, so blank
