"""Slots pass from backend to backend in steps that a running proxy can follow, the longest free one first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.render.slots import Slots, assign, backends_by_slot


def after(*changes: str) -> Slots:
    """The slots after each of these lists of backends was written."""
    slots, used = Slots(), list[str]()
    for backends in changes:
        slots, used = assign(slots, used, backends.split()), backends.split()
    return slots


@pytest.mark.parametrize(("routes", "slots"), [(1, 4), (2, 4), (3, 8), (6, 8), (7, 12), (100, 104)])
def test_at_least_two_slots_are_free_at_first(routes: int, slots: int) -> None:
    assert len(assign((), (), [f"v{number}" for number in range(routes)])) == slots


def test_a_backend_keeps_its_slot_whatever_the_order_of_the_routes() -> None:
    assert backends_by_slot(after("a b", "b a", "c b", "b c")) == ("a", "b", "c", "")


def test_the_slot_that_has_been_free_for_the_longest_time_is_used_first() -> None:
    assert backends_by_slot(after("a b", "b c", "c d")) == ("a", "b", "c", "d")
    assert backends_by_slot(after("a b", "b c", "c d", "d e")) == ("e", "b", "c", "d")
    assert backends_by_slot(after("a b", "b c", "c d", "d e", "e f")) == ("e", "f", "c", "d")


def test_a_backend_that_returns_gets_its_former_slot() -> None:
    assert after("a b", "b c", "a b") == ((3, ""), (2, "c"), (0, "a"), (1, "b"))
    assert backends_by_slot(after("a b", "b c", "c d", "d e", "e a")) == ("e", "a", "c", "d")


def test_if_no_slot_is_free_there_are_more() -> None:
    assert len(after("a b", "a b c d")) == 4
    assert len(after("a b", "a b c d", "a b c d e")) == 8
    assert len(after("a b c d e f", "g h")) == 8
    assert len(after("a b c d e f", "g h i")) == 12


def test_the_same_backends_have_the_same_slots() -> None:
    assert after("a b", "b c", "b c") == after("a b", "b c")


@given(st.lists(st.lists(st.sampled_from("abcdefghij"), min_size=1, unique=True), min_size=1))
def test_no_slot_passes_from_one_backend_to_another_at_once(changes: list[list[str]]) -> None:
    slots, used = Slots(), list[str]()
    for backends in changes:
        former = dict(slots)
        slots = assign(slots, used, backends)
        assert sorted(index for index, _ in slots) == list(range(len(slots)))
        assert len(slots) >= len(former)
        assert all(backends_by_slot(slots).count(backend) == 1 for backend in backends)
        passed = [(former.get(index), name) for index, name in slots if former.get(index) != name]
        assert not any(before in used for before, _ in passed)
        used = backends
