"""Weights: exact, with at most one decimal, and the same number in YAML, JSON and text."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.model.entries import Share
from engine.model.weight import TENTHS, decimal_text, read_weight, weight_number

tenths = st.integers(0, TENTHS)


@pytest.mark.parametrize(
    ("number", "text"),
    [(50, "50"), (50.0, "50"), (1e1, "10"), (100.0, "100"), (12.5, "12.5"), (0.1, "0.1"), (99.9, "99.9"), (-0.0, "0")],
)
def test_a_weight_is_written_with_a_decimal_only_if_it_is_not_whole(number: float, text: str) -> None:
    assert str(read_weight(number)) == text
    assert str(read_weight(Decimal(repr(number)))) == text
    assert json.dumps(weight_number(read_weight(number))) == text


@given(tenths)
def test_every_weight_survives_json_yaml_and_text(number: int) -> None:
    weight = Decimal(number) / 10
    written = weight_number(weight)
    for read in (json.loads(json.dumps(written)), yaml.safe_load(yaml.safe_dump(written)), Decimal(str(weight))):
        assert read_weight(read) == weight
    share = Share(backend="v1:http", weight=weight)
    assert Share.model_validate_json(share.model_dump_json(by_alias=True)) == share
    assert Share.model_validate(share.model_dump(mode="json", by_alias=True)) == share


@given(tenths)
def test_the_numbers_next_to_a_weight_are_not_that_weight(number: int) -> None:
    for other in (math.nextafter(number / 10, math.inf), math.nextafter(number / 10, -math.inf)):
        with pytest.raises(ValueError, match="at most one decimal"):
            read_weight(other)


@pytest.mark.parametrize(
    "value", [-1, -0.1, 100.1, 101, 12.34, 0.05, True, False, "50", "12.5", None, [50], {}, math.nan, math.inf, 2**63]
)
def test_anything_else_is_refused_with_its_value(value: Any) -> None:
    with pytest.raises(ValueError, match="weight") as refused:
        read_weight(value)
    assert repr(value) in str(refused.value)
    with pytest.raises(ValidationError):
        Share(backend="v1:http", weight=value)


def test_sums_and_differences_are_exact_and_have_no_needless_zero() -> None:
    thirds = [read_weight(number) for number in (33.3, 33.3, 33.4)]
    assert decimal_text(sum(thirds, Decimal())) == "100"
    assert decimal_text(thirds[2] - thirds[0]) == "0.1"
