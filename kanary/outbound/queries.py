"""Evaluates Prometheus queries: the request, and what an answer says. Only a number within the limits passes."""

import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from engine.checks import CheckOutcome, QueryCheck
from engine.model.checks import HttpUrl
from kanary.outbound.exchange import Answer, HttpRequest

_OK = 200
_SHOWN = 200
"""Number of characters of a server's message that ours has."""


def query_request(check: QueryCheck) -> HttpRequest:
    """An instant query (https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries)."""
    path = HttpUrl.parse(check.query.address).path.rstrip("/")
    timeout = f"{check.query.timeout_seconds}s"
    return HttpRequest("GET", f"{path}/api/v1/query?{urlencode({'query': check.text, 'timeout': timeout})}")


def judge_query(check: QueryCheck, answer: Answer) -> tuple[CheckOutcome, str]:
    """The outcome and its message."""
    try:
        value = _value(answer)
    except ValueError as error:
        return CheckOutcome.INCONCLUSIVE, str(error)
    query = check.query
    if query.max is not None and value > query.max:
        return CheckOutcome.FAILED, f"{_number(value)} is above max {_number(query.max)}"
    if query.min is not None and value < query.min:
        return CheckOutcome.FAILED, f"{_number(value)} is below min {_number(query.min)}"
    if not math.isfinite(value):
        return CheckOutcome.INCONCLUSIVE, f"the value is {_number(value)}"
    limits = {"min": query.min, "max": query.max}
    text = " and ".join(f"{name} {_number(limit)}" for name, limit in limits.items() if limit is not None)
    return CheckOutcome.PASSED, f"{_number(value)} is within {text}"


def _value(answer: Answer) -> float:
    """The one value of the answer. Raises ValueError with what it has instead."""
    content = _content(answer)
    if content.get("status") != "success" or answer.status != _OK:
        error = str(content.get("error") or "no error text")[:_SHOWN]
        raise ValueError(f"the server answered {answer.status}: {error}")
    data = content.get("data")
    data = data if isinstance(data, Mapping) else {}
    kind, result = data.get("resultType"), data.get("result")
    if kind == "vector" and isinstance(result, list):
        if len(result) != 1:
            raise ValueError(f"the query gave {len(result) or 'no'} values instead of one")
        sample = result[0].get("value") if isinstance(result[0], Mapping) else None
    elif kind == "scalar":
        sample = result
    else:
        raise ValueError(f"the query gave a {str(kind)[:_SHOWN]} instead of one value")
    match sample:
        case [_, str() as text]:
            value = float(text)
        case _:
            raise ValueError("the answer has no value")
    if math.isnan(value):
        raise ValueError("the value is NaN")
    return value


def _content(answer: Answer) -> Mapping[str, Any]:
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the server answered {answer.status} without JSON") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"the server answered {answer.status} without a JSON object")  # noqa: TRY004  as above
    return content


def _number(value: float) -> str:
    return f"{value:.6g}"
