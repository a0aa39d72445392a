"""A weight: a share of the connections in percent, with at most one decimal."""

from decimal import Decimal
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

TOTAL_WEIGHT = 100
TENTHS = 10 * TOTAL_WEIGHT
"""The total in the unit of the smallest weight."""

# By value, since 50, 50.0 and Decimal("50.0") are equal. No float but those of whole numbers and halves is equal to a
# Decimal, but each weight has one float, the nearest to it, that stands for it in JSON and YAML.
_WEIGHTS = {
    key: weight for weight in (Decimal(tenths) / 10 for tenths in range(TENTHS + 1)) for key in (weight, float(weight))
}


def read_weight(value: object) -> Decimal:
    """The exact weight that a number stands for; as text it has a decimal only if it is not whole: `50`, `12.5`.

    Raises ValueError for anything but a number from 0 to 100 with at most one decimal, text and booleans included.
    """
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and value in _WEIGHTS:
        return _WEIGHTS[value]
    raise ValueError(f"weight {value!r} is not a number from 0 to {TOTAL_WEIGHT} with at most one decimal")


def weight_number(weight: Decimal) -> int | float:
    """The weight as JSON and YAML write it: 50, 12.5."""
    return int(weight) if weight == int(weight) else float(weight)


def decimal_text(value: Decimal) -> str:
    """A sum or a difference of weights as text, without needless zeros."""
    return f"{value.normalize():f}"


Weight = Annotated[
    Decimal,
    PlainValidator(read_weight),
    PlainSerializer(weight_number, when_used="json"),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": TOTAL_WEIGHT}),
]
