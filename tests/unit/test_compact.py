"""Copies that share what they have in common, and are still equal to the originals."""

import gc
import json

from hypothesis import given

from kanary.operator.compact import SharedParts, compact
from tests.unit.kanaries import Json, json_values


def parsed(value: Json) -> Json:
    """An equal value that shares nothing."""
    copy: Json = json.loads(json.dumps(value))
    return copy


@given(json_values)
def test_a_copy_is_equal_in_value_and_type(value: object) -> None:
    pool = SharedParts()
    for copy in (compact({"value": value}), pool.share({"value": value})):
        assert json.dumps(copy) == json.dumps({"value": value})


def test_equal_strings_are_one_object() -> None:
    one, other = compact(parsed({"a key": "a value"})), compact(parsed({"another key": "a value"}))
    assert one["a key"] is other["another key"]


def test_equal_parts_are_one_object() -> None:
    pool = SharedParts()
    one = pool.share(parsed({"name": "one", "ports": [{"port": 80}]}))
    other = pool.share(parsed({"name": "other", "ports": [{"port": 80}]}))
    assert one["ports"] is other["ports"]


def test_equal_numbers_of_different_types_stay_different() -> None:
    pool = SharedParts()
    one, other = pool.share({"x": [1, 0]}), pool.share({"x": [True, False]})
    assert json.dumps([one, other]) == '[{"x": [1, 0]}, {"x": [true, false]}]'


def test_an_empty_list_is_no_empty_object() -> None:
    pool = SharedParts()
    assert (pool.share({}), pool.share([])) == ({}, [])


def test_parts_that_nothing_uses_any_more_are_forgotten() -> None:
    pool = SharedParts()
    for number in range(100):
        pool.share({"number": number, "of": [number]})
    gc.collect()
    assert len(pool) == 0
