"""What is derived once, and for how long it is kept."""

import json
import sys
from typing import Any

import pytest

from engine.memo import Memo, Memos
from kanary.kube.cache import Unpacked

Json = dict[str, Any]


class Reader:
    """Counts how often it reads."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, obj: Json) -> tuple[str, ...]:
        self.times += 1
        return tuple(obj["names"])


def test_the_same_object_is_read_once_and_another_version_again() -> None:
    memo, read, obj = Memo(), Reader(), {"names": ["a"], "version": 1}
    assert [memo(read, obj) for _ in range(3)] == [("a",)] * 3
    assert read.times == 1
    assert memo(read, {"names": ["b"], "version": 2}) == ("b",)
    assert read.times == 2


def test_a_copy_of_the_same_content_is_not_read_and_the_object_is_not_kept() -> None:
    memo, read = Memo(), Reader()
    first = Unpacked({"names": ["a"]}, 7)
    memo(read, first)
    assert memo(read, Unpacked({"names": ["a"]}, 7)) == ("a",)
    assert read.times == 1
    assert memo(read, Unpacked({"names": ["b"]}, 8)) == ("b",)
    assert sys.getrefcount(first) == 2  # this variable and the argument of the call


def test_a_new_version_without_a_relevant_change_gives_the_former_result_itself() -> None:
    """So nothing that depends on it is derived again."""
    memo, read = Memo(), Reader()
    former = memo(read, {"names": ["a", "b"], "version": 1})
    memo.end_round()
    assert memo(read, {"names": ["a", "b"], "version": 2}) is former


def test_text_and_numbers_are_recognised_by_their_value() -> None:
    memo, texts = Memo(), list[str]()

    def read(text: str, number: int) -> int:
        texts.append(text)
        return len(json.loads(text)) + number

    for text in ("[1, 2]", "".join(["[1, ", "2]"])):
        assert memo(read, text, 2**70) == 2 + 2**70
    assert memo(read, "[1, 2]", 1) == 3
    assert len(texts) == 2


def test_different_functions_of_one_object_have_results_of_their_own() -> None:
    memo, obj = Memo(), {"a": 1}
    assert (memo(len, obj), memo(sorted, obj), memo(len, obj)) == (1, ["a"], 1)


def test_what_a_round_does_not_use_is_dropped_after_it() -> None:
    memo, read, obj = Memo(), Reader(), {"names": ["a"]}
    for _ in range(3):
        memo(read, obj)
        memo.end_round()
    assert read.times == 1
    memo.end_round()
    memo(read, obj)
    assert read.times == 2


def test_a_known_result_is_not_derived() -> None:
    memo, read = Memo(), Reader()
    obj = {"names": ["a"]}
    memo.keep(("a",), read, obj)
    memo.end_round()
    assert memo(read, obj) == ("a",)
    assert read.times == 0


def test_the_first_value_about_an_object_stays() -> None:
    memo, obj, other = Memo(), {"a": 1}, {"a": 1}
    assert [memo.first("serial", about, value) for about, value in [(obj, 5), (obj, 6), (other, 7)]] == [5, 5, 7]


def test_an_error_is_raised_each_time() -> None:
    memo = Memo()
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            memo(int, "x")
    assert memo(int, "1") == 1


def test_each_kanary_has_its_memo_until_it_is_deleted() -> None:
    memos, known = Memos(), dict[str, Memo]()

    def reconcile(name: str) -> bool:
        """Returns whether its memo was kept since the last time."""
        with memos.round("shop", name) as memo:
            former, known[name] = known.get(name), memo
        return memo is former

    assert [reconcile(name) for name in "aba"] == [False, False, True]
    memos.forget("shop", "a")
    assert [reconcile(name) for name in "ab"] == [False, True]


def test_a_result_that_is_derived_twice_in_a_round_is_one_object() -> None:
    memo = Memo()
    assert memo(str.split, "a b") is memo(str.split, "a  b")


def test_thousands_of_results_are_not_compared_with_each_other() -> None:
    """Anyone may create thousands of EndpointSlices, and a change of the Service is one of all of them."""
    comparisons = 0

    class Result:
        def __eq__(self, other: object) -> bool:
            nonlocal comparisons
            comparisons += 1
            return False

        __hash__ = None  # type: ignore[assignment]

    def derive(_change: str, _number: int) -> Result:
        return Result()

    memo, count = Memo(), 2_000
    for change in ("first", "second"):
        for number in range(count):
            memo(derive, change, number)
        memo.end_round()
    assert comparisons < 100 * count
